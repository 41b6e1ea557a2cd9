"""The HTML form of an output: a picture that a script turns into the interactive view.

Where scripts are stripped (an untrusted notebook, a viewer) the picture stays; so it does on paper
for what was not in sight. The script fetches nothing: the renderer and the data travel inside,
deflated. All text reaches the page as JSON that cannot end a script element, and is drawn as text
nodes.
"""

from __future__ import annotations

import base64
import html
import json

from lmkit.protocol.codec import to_builtins
from lmkit.protocol.messages import Bundle
from lmkit.transports.assets import packed_core

__all__ = ["script_json", "standalone", "to_html"]

ALTERNATIVE = 2_000
"""Characters of a picture's description; a screen reader's listener has had enough by then."""

_SCRIPT = """
const box = document.currentScript.parentElement;
const image = box.querySelector("img");
const target = box.querySelector("div");
const key = Symbol.for("lmkit.core@1");
const load = async () => {
  const packed = box.querySelector("script[type='text/plain']").textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const source = await new Response(stream).text();
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try { return await import(url); } finally { URL.revokeObjectURL(url); }
};
// when it comes into sight: a page of sixty outputs opens as fast as one of one
new Promise((resolve) => {
  const sight = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    sight.disconnect();
    resolve();
  }, { rootMargin: "400px" });
  sight.observe(box);
}).then(() => (globalThis[key] ??= load())).then((core) => {
  const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  core.mountBundle(target, data, null, { theme: box.dataset.theme || "auto" });
  image.remove();
}).catch((error) => { console.error("lmkit: the picture stays, the view failed:", error); });
"""


def script_json(value: object) -> str:
    """JSON that is safe inside a script element: no ``<``, no line separators of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def to_html(bundle: Bundle | None, picture: bytes, alternative: str, theme: str = "auto") -> str:
    """The ``text/html`` part of an output.

    Args:
        bundle: What the script draws; None for the picture alone.
        picture: PNG shown until then, and where no script runs.
        alternative: What the picture shows, in words.
        theme: ``light``, ``dark`` or ``auto``: as the page that holds it, else the user's system.
    """
    encoded = base64.b64encode(picture).decode("ascii")
    image = (
        f'<img alt="{html.escape(alternative[:ALTERNATIVE], quote=True)}" style="max-width:100%" '
        f'src="data:image/png;base64,{encoded}">'
    )
    if bundle is None:
        return f'<div class="lmkit-output">{image}</div>'
    return (
        f'<div class="lmkit-output" data-theme="{html.escape(theme, quote=True)}">{image}'
        "<div></div>"
        f'<script type="application/json">{script_json(to_builtins(bundle))}</script>'
        f'<script type="text/plain">{packed_core()}</script>'
        f"<script>{{{_SCRIPT}}}</script>"
        "</div>"
    )


def standalone(fragments: list[str], title: str, theme: str = "auto") -> str:
    """A whole page around HTML forms of outputs; its own background follows the theme.

    A view may be as high as the window: in a notebook it is one output of many.
    """
    schemes = "light dark" if theme == "auto" else theme
    body = "\n".join(fragments)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n"
        f'<meta name="color-scheme" content="{html.escape(schemes, quote=True)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<style>:root { --lmkit-max-height: max(600px, calc(100vh - 18px)); }</style>\n"
        "</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )
