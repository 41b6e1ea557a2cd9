/** Why a kernel was not asked, or gave nothing: a sentence for people, with what to do. */
export class RefusedError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint = "",
  ) {
    super(message);
  }
}
