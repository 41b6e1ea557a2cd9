/** In the renderer: what saved outputs lack, by way of the extension; one for all outputs of a page. */
import { KernelError, type Rest, translator } from "@lmkit/core";
import type { RefillRequest } from "@lmkit/protocol";
import type { RendererContext } from "vscode-notebook-renderer";
import type { FromRenderer, ToRenderer } from "./rest-messages.ts";

interface Waiting {
  resolve(found: unknown): void;
  reject(error: KernelError): void;
}

/**
 * Null where there is nobody to ask, as in VS Code for the Web.
 *
 * @param speak called with VS Code's language once it is known
 */
export function extensionRest(
  context: Pick<RendererContext<unknown>, "postMessage" | "onDidReceiveMessage">,
  speak: (language: string) => void = () => {},
): Rest | null {
  const { onDidReceiveMessage } = context;
  if (!context.postMessage || !onDidReceiveMessage) return null;
  const post = (message: FromRenderer) => context.postMessage?.(message);
  const told = new Set<(note: string) => void>();
  const waiting = new Map<string, Waiting>();
  let note: string | null = null;
  let host: string | null = null;
  let count = 0;
  // Replies reach all that the renderer drew, of this notebook in another editor too.
  const mine = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;

  onDidReceiveMessage((message: ToRenderer) => {
    if (message.type === "offered") {
      const { language } = message;
      speak(language);
      if (host !== null && host !== message.host) {
        const t = translator(language);
        const info = {
          code: "unanswered",
          message: t("rest.unanswered"),
          hint: t("rest.again"),
          details: "",
        };
        for (const one of waiting.values()) one.reject(new KernelError(info));
        waiting.clear();
      }
      host = message.host;
      note = message.note;
      for (const tell of [...told]) tell(note);
      return;
    }
    const one = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.type === "refilled") one?.resolve(message.found);
    else one?.reject(new KernelError(message.error));
  });

  post({ type: "offer" });
  return {
    offer(tell) {
      told.add(tell);
      if (note !== null) tell(note);
      return () => told.delete(tell);
    },
    ask(request: RefillRequest) {
      const id = `${mine}-${count++}`;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        post({ type: "refill", id, request });
      });
    },
  };
}
