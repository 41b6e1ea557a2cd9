/** The document of a panel's webview. */
import { readFileSync } from "node:fs";
import * as vscode from "vscode";

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The view's own code, read when the first panel opens. */
let code: string | null = null;

/**
 * Scripts and pictures of this extension only; nothing is evaluated and nothing remote is asked.
 * Styles stand in a sheet of the view's shadow root, and VS Code adds its own inline.
 */
export function pageOf(webview: vscode.Webview, extension: vscode.Uri, nonce: string): string {
  // In the document itself: as a file it goes through VS Code's service worker and back to where the
  // extension runs before the page can begin. esbuild writes no "</script" into a bundle.
  code ??= readFileSync(vscode.Uri.joinPath(extension, "page.js").fsPath, "utf8");
  const policy = [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src ${webview.cspSource} 'unsafe-inline'`,
    "img-src data: blob:",
    // what the view saves is read back from its own blob
    "connect-src blob:",
  ].join("; ");
  const words = {
    saved: vscode.l10n.t("The result of an earlier run."),
    kept: vscode.l10n.t(
      "This result was kept; Python no longer has it. Run again to go on from it.",
    ),
    begin: vscode.l10n.t("Back to the Form"),
  };
  const data = Object.entries(words).map(([name, word]) => `data-${name}="${escaped(word)}"`);
  return `<!doctype html>
<html lang="${vscode.env.language.replace(/[^\w-]/g, "")}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>lmkit</title>
<style>
html, body { height: 100%; padding: 0; margin: 0; }
body { display: flex; flex-direction: column; }
#note { margin: 0; padding: 8px 12px; border-inline-start: 3px solid var(--vscode-editorWarning-foreground); }
#note[hidden] { display: none; }
#note.kept { border-color: var(--vscode-editorInfo-foreground); }
#note button { margin-inline-start: 12px; padding: 4px 10px; border: 1px solid var(--vscode-button-border, transparent); border-radius: 2px; font: inherit; cursor: pointer; color: var(--vscode-button-foreground); background: var(--vscode-button-background); }
#note button:hover { background: var(--vscode-button-hoverBackground); }
#note button:focus-visible { outline: 1px solid var(--vscode-focusBorder); outline-offset: 2px; }
#view, .lmkit-view { flex: 1 1 auto; min-height: 0; height: 100%; }
</style>
</head>
<body ${data.join(" ")}><p id="note" role="status" hidden></p><div id="view"></div><script nonce="${nonce}">${code}</script></body>
</html>`;
}
