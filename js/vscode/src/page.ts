/** The page of a panel: draws the view, and carries its messages to the extension. */
import { type Channel, mountBundle, mountLive } from "@lmkit/core";
import { type FromPage, isObject, type ToPage } from "./messages.ts";

interface Host {
  postMessage(message: FromPage): void;
  setState(state: unknown): void;
  getState(): unknown;
}
declare function acquireVsCodeApi(): Host;

const host = acquireVsCodeApi();
const element = document.getElementById("view") as HTMLElement;
/** Pages of plugins run by the nonce of this script. */
const options = { fill: true, nonce: document.currentScript?.nonce ?? "" };
const listeners = new Set<Parameters<Channel["listen"]>[0]>();
const closers = new Set<() => void>();
let unmount = () => {};
/** The last result's saved form. */
let saved: Readonly<Record<string, unknown>> | null = null;

function keep(bundle: unknown): void {
  saved = isObject(bundle) ? bundle : null;
}

function bytes(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function base64(data: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < data.length; at += 32_768) {
    parts.push(String.fromCharCode(...data.subarray(at, at + 32_768)));
  }
  return btoa(parts.join(""));
}

const channel: Channel = {
  send: (message) => host.postMessage({ type: "send", message }),
  listen: (heard) => {
    listeners.add(heard);
    return () => listeners.delete(heard);
  },
  onClose: (closed) => {
    closers.add(closed);
    return () => closers.delete(closed);
  },
  close: () => {},
};

function note(text: string, hint: string): void {
  const place = document.getElementById("note") as HTMLElement;
  place.textContent = [text, hint].filter(Boolean).join(" ");
  place.hidden = text === "";
}

window.addEventListener("message", (event: MessageEvent<ToPage>) => {
  const told = event.data;
  if (told.type === "open") {
    unmount();
    note("", "");
    // the saved form stays until the view has answered: no flash of an empty one between the two
    unmount = saved
      ? mountBundle(element, { ...saved, live: told.where }, channel, options)
      : mountLive(element, told.where, channel, options);
  } else if (told.type === "message") {
    const buffers = told.data.map(bytes);
    for (const heard of [...listeners]) heard(told.message, buffers);
  } else if (told.type === "closed") {
    for (const closed of [...closers]) closed();
  } else if (told.type === "state") {
    if ("bundle" in told) keep(told.bundle);
    host.setState(saved ? { ...told.state, bundle: saved } : told.state);
  } else {
    note(told.message, told.hint);
  }
});

// A webview may not download: what the view saves goes through the extension's own dialog.
document.addEventListener(
  "click",
  (event) => {
    const link = event.composedPath()[0];
    if (!(link instanceof HTMLAnchorElement) || link.download === "") return;
    event.preventDefault();
    event.stopPropagation();
    void fetch(link.href)
      .then((answer) => answer.arrayBuffer())
      .then((data) => {
        host.postMessage({ type: "save", name: link.download, data: base64(new Uint8Array(data)) });
      });
  },
  true,
);

const kept = host.getState();
if (isObject(kept)) keep(kept["bundle"]);
if (saved) unmount = mountBundle(element, saved, null, options);
host.postMessage({ type: "ready" });
