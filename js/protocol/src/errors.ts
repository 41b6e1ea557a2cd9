/** Data that came from a kernel or a saved notebook and is not of this protocol. `message` is for people. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}
