import { inEnglish, type Problem } from "./problems.ts";

/** Data that came from a kernel or a saved notebook and is not of this protocol. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  /** What is wrong, for a page to say in its language; `message` says it in English. */
  readonly problem: Problem | null;

  constructor(problem: Problem | string, options?: ErrorOptions) {
    super(typeof problem === "string" ? problem : inEnglish(problem), options);
    this.problem = typeof problem === "string" ? null : problem;
  }
}
