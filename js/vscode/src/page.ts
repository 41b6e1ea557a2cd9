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
/** Files on their way, by their number. */
const saving = new Map<number, { done(saved: boolean): void; failed(error: Error): void }>();
let files = 0;
const options = {
  fill: true,
  // pages of plugins run by the nonce of this script
  nonce: document.currentScript?.nonce ?? "",
  host: { saveFile, saved: document.body.dataset["saved"] ?? "" },
};
const listeners = new Set<Parameters<Channel["listen"]>[0]>();
const closers = new Set<() => void>();
let unmount = () => {};
/** The last result's saved form. */
let saved: Readonly<Record<string, unknown>> | null = null;

function keep(bundle: unknown): void {
  saved = isObject(bundle) ? bundle : null;
}

/** A webview may not download: the extension asks where, in VS Code's own dialog. */
async function saveFile(name: string, file: Blob): Promise<boolean> {
  const data = base64(new Uint8Array(await file.arrayBuffer()));
  const id = files++;
  return new Promise((done, failed) => {
    saving.set(id, { done, failed });
    host.postMessage({ type: "save", id, name, data });
  });
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

function note(text: string, hint: string): HTMLElement {
  const place = document.getElementById("note") as HTMLElement;
  place.className = "";
  place.textContent = [text, hint].filter(Boolean).join(" ");
  place.hidden = text === "";
  return place;
}

/** Say that what is shown was kept, and offer the form. */
function sayKept(): void {
  const place = note(document.body.dataset["kept"] ?? "", "");
  place.classList.add("kept");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = document.body.dataset["begin"] ?? "";
  button.addEventListener("click", () => host.postMessage({ type: "begin" }));
  place.append(button);
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
  } else if (told.type === "kept") {
    sayKept();
  } else if (told.type === "closed") {
    for (const closed of [...closers]) closed();
  } else if (told.type === "state") {
    if ("bundle" in told) keep(told.bundle);
    host.setState(saved ? { ...told.state, bundle: saved } : told.state);
  } else if (told.type === "saved") {
    const waiting = saving.get(told.id);
    saving.delete(told.id);
    if (told.problem) waiting?.failed(new Error(told.problem));
    else waiting?.done(told.done);
  } else {
    note(told.message, told.hint);
  }
});

const kept = host.getState();
if (isObject(kept)) keep(kept["bundle"]);
if (saved) unmount = mountBundle(element, saved, null, options);
host.postMessage({ type: "ready" });
