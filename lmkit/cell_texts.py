"""The texts of a notebook outside lmkit's outputs, each replaced where it stands.

What a person wrote and printed: markdown, strings and comments of code, bodies of cell magics,
printed outputs, metadata. Names of the code itself (variables, functions, modules) are no texts:
what runs, runs as before with other strings.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["New", "pictures_in", "rewrite_code", "rewrite_texts", "strings_in"]

New = Callable[[str, bool], str]
"""What takes a text's place: given the text, and whether it is prose, in which names are looked
for; elsewhere (tags, paths, data) only names that are known from prose."""

_PYTHON_BODIES = frozenset({"time", "timeit", "capture", "prun", "python", "python3", "pypy"})
_STRING = re.compile("([A-Za-z]{0,2})(\"\"\"|'''|\"|')")
_WORD = re.compile(r"\w+")
_MAGIC = re.compile(r"[ \t]*[%!][^\n]*")
_ASSIGNED = re.compile(r"=[ \t]*[%!](?!=)[^\n]*")
_COMMAND = re.compile(r"(=?[ \t]*(?:%%?\w*|!!?))(.*)", re.DOTALL)
_QUOTED = re.compile(r"""("[^"\n]*"|'[^'\n]*')""")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TAG = re.compile(r"(<[^>]*>)")
_ATTRIBUTE = re.compile(r"""(=\s*)("[^"]*"|'[^']*')""")
_PROSE = frozenset({"text/plain", "text/markdown", "text/latex"})
_FIXED = frozenset({"kernelspec", "language_info"})
"""Metadata of a notebook that tools read."""


def rewrite_texts(
    notebook: dict[str, Any], new: New, ours: Callable[[Mapping[str, Any]], bool]
) -> tuple[str, ...]:
    """Put new texts in place of those of a notebook of format 4.

    Args:
        notebook: It is changed.
        new: Says what takes a text's place.
        ours: Whether an output is one of lmkit's, which is left alone.

    Returns:
        The places that have changed: "source of cell 2"; cells are counted from 1.
    """
    changed: list[str] = []
    metadata = notebook.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    language = info.get("name", "python") if isinstance(info, dict) else "python"
    for number, cell in enumerate(notebook["cells"], 1):
        if not isinstance(cell, dict):
            continue
        code = cell.get("cell_type") == "code"

        def source(text: str, code: bool = code) -> str:
            if code:
                return rewrite_code(text, new, python=language == "python")
            return _asked(text, True, new)

        if _put(cell, "source", source):
            changed.append(f"source of cell {number}")
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            # A place is told once, however many outputs the cell has.
            if isinstance(output, dict) and not ours(output) and _output(output, new):
                place = f"output of cell {number}"
                changed += [] if place in changed else [place]
        if _leaves(cell, "metadata", new):
            changed.append(f"metadata of cell {number}")
    if isinstance(metadata, dict):
        names = [name for name in metadata if name not in _FIXED]
        if sum(_leaves(metadata, name, new) for name in names):
            changed.append("notebook's metadata")
    return tuple(changed)


def rewrite_code(code: str, new: New, *, python: bool = True) -> str:
    """The source of a code cell with new texts in its strings, comments and magics.

    A source that is Python stays Python; where it would not, it is given back as it was.

    Args:
        code: As a cell has it, magics and shell lines included.
        new: Says what takes a text's place.
        python: False for another language, whose strings and comments look alike.
    """
    head, magic, rest = re.match(r"(\s*)(%%[^\n]*\n?)?(.*)", code, re.DOTALL).groups()  # type: ignore[union-attr]
    if magic:
        name = re.match(r"%%\s*(\w*)", magic)
        if name is None or name[1] not in _PYTHON_BODIES:
            return f"{head}{_command(magic, new)}{_asked(rest, True, new)}"
        head += _command(magic, new)
    else:
        rest, head = head + rest, ""
    made = _Code(rest, new).rewritten()
    if python and _parses(rest) and not _parses(made):
        return code
    return head + made


def pictures_in(
    notebook: Mapping[str, Any], ours: Callable[[Mapping[str, Any]], bool]
) -> list[str]:
    """The places of pictures and attachments outside lmkit's outputs: nothing reads them."""
    places = []
    for number, cell in enumerate(notebook["cells"], 1):
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        found = [one for one in outputs or () if isinstance(one, dict) and not ours(one)]
        kinds = [kind for one in found if isinstance(one.get("data"), dict) for kind in one["data"]]
        if any(kind.partition("/")[0] in ("image", "audio", "video") for kind in kinds) or (
            isinstance(cell, dict) and cell.get("attachments")
        ):
            places.append(f"cell {number}")
    return places


def strings_in(notebook: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All strings of a notebook, names of its own format left out, with their places."""
    for number, cell in enumerate(notebook["cells"], 1):
        if not isinstance(cell, dict):
            continue
        parts = {
            f"source of cell {number}": cell.get("source"),
            f"output of cell {number}": cell.get("outputs"),
            f"metadata of cell {number}": cell.get("metadata"),
        }
        for place, part in parts.items():
            yield from ((place, text) for text in _strings(part))
    metadata = notebook.get("metadata")
    for name, part in metadata.items() if isinstance(metadata, dict) else ():
        if name not in _FIXED:
            yield from (("notebook's metadata", text) for text in _strings(part))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if value and all(isinstance(one, str) for one in value):
            yield "".join(value)
        else:
            for one in value:
                yield from _strings(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if not name.startswith(("image/", "audio/", "video/")):
                yield name
                yield from _strings(one)


def _asked(text: str, prose: bool, new: New) -> str:
    """The new text; what has no letter holds no name."""
    return new(text, prose) if any(one.isalpha() for one in text) else text


def _put(holder: dict[str, Any], name: str, made: Callable[[str], str]) -> bool:
    """Replace a text, which may be a list of lines and stays one; whether it has changed."""
    value = holder.get(name)
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in parts):
        return False
    before = "".join(str(one) for one in parts)
    after = made(before)
    if after == before:
        return False
    holder[name] = after.splitlines(keepends=True) if isinstance(value, list) else after
    return True


def _leaves(holder: dict[str, Any], name: str, new: New) -> bool:
    """Replace known names in all strings below a place; whether one has changed."""
    changed = False

    def walk(value: Any, key: str = "") -> Any:
        nonlocal changed
        if isinstance(value, str) and not key.startswith("_"):
            made = _asked(value, False, new)
            changed = changed or made != value
            return made
        if isinstance(value, list):
            return [walk(one) for one in value]
        if isinstance(value, dict):
            return {own: walk(one, own) for own, one in value.items()}
        return value

    if name in holder:
        holder[name] = walk(holder[name])
    return changed


def _output(output: dict[str, Any], new: New) -> bool:
    """Replace the texts of one output; whether one has changed."""

    def printed(text: str) -> str:
        plain = _ANSI.sub("", text)  # colours cut names into pieces
        made = _asked(plain, True, new)
        return text if made == plain else made

    changed = [_put(output, "text", printed), _put(output, "evalue", printed)]
    lines = output.get("traceback")
    if isinstance(lines, list):
        for at, line in enumerate(lines):
            plain = _ANSI.sub("", line) if isinstance(line, str) else ""
            made = _asked(plain, False, new)
            if made != plain:
                lines[at] = made
                changed.append(True)
    data = output.get("data")
    data = data if isinstance(data, dict) else {}
    for kind in list(data):
        if kind in _PROSE:
            changed.append(_put(data, kind, printed))
        elif kind in ("text/html", "image/svg+xml"):
            changed.append(_put(data, kind, lambda text: _html(text, new)))
        elif kind.partition("/")[0] not in ("image", "audio", "video"):
            changed.append(_leaves(data, kind, new))
    if output.get("metadata"):
        changed.append(_leaves(output, "metadata", new))
    return any(changed)


def _html(text: str, new: New) -> str:
    def known(part: str, quote: bool) -> str:
        plain = html.unescape(part)
        made = _asked(plain, False, new)
        return part if made == plain else html.escape(made, quote=quote)

    def attribute(match: re.Match[str]) -> str:
        value = match[2]
        return f"{match[1]}{value[0]}{known(value[1:-1], True)}{value[0]}"

    parts = _TAG.split(text)
    return "".join(
        _ATTRIBUTE.sub(attribute, part) if at % 2 else known(part, False)
        for at, part in enumerate(parts)
    )


def _command(line: str, new: New) -> str:
    """A magic or a shell line: what is quoted is prose, the rest are options and paths."""
    match = _COMMAND.match(line)
    if match is None:
        return line
    parts = _QUOTED.split(match[2])
    return match[1] + "".join(
        f"{part[0]}{_asked(part[1:-1], True, new)}{part[0]}" if at % 2 else _asked(part, False, new)
        for at, part in enumerate(parts)
    )


def _parses(code: str) -> bool:
    """Whether it is Python, once IPython's own lines are left out."""
    plain = re.sub(r"^([ \t]*)[%!][^\n]*", r"\1pass", code, flags=re.MULTILINE)
    plain = re.sub(r"=[ \t]*[%!](?!=)[^\n]*", "= 0", plain)
    try:
        ast.parse(plain)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class _Code:
    """Reads Python from its start to its end and writes it with new strings and comments.

    ``tokenize`` stops at the first line that is IPython's; this goes on over what it doesn't know.
    """

    def __init__(self, code: str, new: New) -> None:
        self._code, self._new = code, new
        self._out: list[str] = []

    def rewritten(self) -> str:
        """The whole."""
        self._read(0, False)
        return "".join(self._out)

    def _read(self, at: int, inside: bool) -> int:
        """Read code up to its end; ``inside`` an f-string up to the brace that ends it."""
        code, out = self._code, self._out
        depth = 0
        begins = not inside
        while at < len(code):
            one = code[at]
            if inside and one == "}" and not depth:
                return at
            command = None
            if begins and not depth and not code.endswith("\\\n", 0, at):
                command = _MAGIC.match(code, at)
            elif one == "=" and not depth and not inside:
                command = _ASSIGNED.match(code, at)
            if command:
                out.append(_command(command[0], self._new))
                at, begins = command.end(), False
                continue
            begins = one == "\n" and not inside
            string = _STRING.match(code, at)
            if string:
                at = self._string(string)
                continue
            word = _WORD.match(code, at)
            if word:
                out.append(word[0])
                at = word.end()
            elif one == "#" and not inside:
                end = code.find("\n", at)
                end = len(code) if end < 0 else end
                out.append(f"#{_asked(code[at + 1 : end], True, self._new)}")
                at = end
            else:
                depth += (one in "([{") - (one in ")]}")
                depth = max(depth, 0)
                out.append(one)
                at += 1
        return at

    def _string(self, opening: re.Match[str]) -> int:
        """Read a string; return where it ends."""
        code = self._code
        prefix, quote = opening[1].lower(), opening[2]
        self._out.append(opening[0])
        at = start = opening.end()
        while at < len(code):
            if code[at] == "\\":
                at += 2
            elif code.startswith(quote, at) or (code[at] == "\n" and len(quote) == 1):
                break
            elif code[at] in "{}" and ("f" in prefix or "t" in prefix):
                if code[at] == "}" or code.startswith("{{", at):
                    at += 1 + code.startswith(("{{", "}}"), at)
                    continue
                self._out += [self._literal(code[start:at], prefix, quote), "{"]
                at = self._read(at + 1, True)
                self._out.append(code[at : at + 1])
                at = start = at + 1
            else:
                at += 1
        at = min(at, len(code))
        self._out.append(self._literal(code[start:at], prefix, quote))
        if code.startswith(quote, at):
            self._out.append(quote)
            at += len(quote)
        return at

    def _literal(self, raw: str, prefix: str, quote: str) -> str:
        """What stands between quotes, anew; as it was where that would not be the same string."""
        braces = "f" in prefix or "t" in prefix
        plain = "".join(one for one in prefix if one not in "ft")
        value = _value(raw, plain, quote)
        if value is None:
            return raw
        if braces:
            value = value.replace("{{", "{").replace("}}", "}")
        made = _asked(value, True, self._new)
        if made == value:
            return raw
        if braces:
            made = made.replace("{", "{{").replace("}", "}}")
        written = made
        if "\\" in raw and "r" not in plain:
            written = made.replace("\\", "\\\\").replace(quote[0], f"\\{quote[0]}")
            written = "".join(
                one if one.isprintable() or (one == "\n" and len(quote) == 3)
                else one.encode("unicode_escape").decode("ascii")
                for one in written
            )  # fmt: skip
        return written if _value(written, plain, quote) == made else raw


def _value(raw: str, prefix: str, quote: str) -> str | None:
    """The string that a literal is; None where it is none."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\d": the user's own
            value = ast.literal_eval(f"{prefix}{quote}{raw}{quote}")
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
