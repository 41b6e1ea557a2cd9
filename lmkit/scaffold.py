"""Writes a new plugin that works as it stands: a task, its package, a test, a README."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lmkit.errors import LmkitError
from lmkit.version import __version__

__all__ = ["MadePlugin", "ScaffoldError", "write_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]{0,39}(?:-[a-z0-9]{1,40}){0,5}")


class ScaffoldError(LmkitError):
    """A new plugin could not be written."""

    code = "scaffold"


@dataclass(frozen=True)
class MadePlugin:
    """Where a plugin was written, and the file to begin with."""

    folder: Path
    main: Path


_MAIN = '''"""TITLE: says in one line what the task does."""

from __future__ import annotations

from lmkit.api import Field, LoadedModel, Spans, Task, hookimpl

__all__ = ["CLASS"]

lmkit_host_api = ">=1,<2"


class CLASS(Task):
    """The words of a text that draw most attention."""

    name = "NAME"
    title = "TITLE"
    help = "Marks the words that draw most attention."
    auto_class = "AutoModel"
    default_model = "starter:encoder"
    fields = (
        Field.text("text", label="Text", body=True),
        Field.integer("k", label="How many", default=5, minimum=1, maximum=50),
    )

    def run(self, model: LoadedModel, *, text: str, k: int) -> Spans:
        """Run on one text; the values have been checked against the fields."""
        trace = model.trace(text)  # one forward pass, its attention kept
        received = trace.attention_received()  # (tokens,), mean over layers, heads, queries
        return Spans.top(trace.words, received, k)


@hookimpl
def lmkit_register_tasks(register):  # type: ignore[no-untyped-def]
    """Called once by the host when the plugin is found."""
    register(CLASS)
'''
_PROJECT = """[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "lmkit-NAME"
version = "0.1.0"
description = "TITLE for lmkit"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["lmkit-core>=VERSION"]

[project.entry-points.lmkit]
NAME = "MODULE"

[tool.hatch.build.targets.wheel]
packages = ["src/MODULE"]
"""
_README = """# lmkit-NAME

TITLE, a plugin for lmkit. Install it where lmkit is and try it:

    pip install -e .
    lmkit run NAME --text "The plot is thin, but I was moved."

In a notebook that runs already, `%lmkit rescan` finds it. `pytest` runs its test.
"""
_TEST = '''"""Runs the task on the starter model."""

import lmkit


def test_it_marks_as_many_words_as_asked() -> None:
    result = lmkit.load().run("NAME", text="The plot is thin, but I was moved.", k=3).result
    assert len(result.spans) == 3
'''


def write_plugin(name: str, folder: Path) -> MadePlugin:
    """Write the plugin ``lmkit-NAME`` into a new folder of that name.

    Args:
        name: Lower-case words with hyphens between them: the name of the task, too.
        folder: Where to; must be there.

    Raises:
        ScaffoldError: the name cannot be one, or the place cannot be written or is taken.
    """
    if not _NAME.fullmatch(name):
        raise ScaffoldError(
            f"A plugin cannot be called {name[:80]!r}.",
            hint="Use lower-case letters, digits and hyphens, for instance: my-task.",
        )
    module = "lmkit_" + name.replace("-", "_")
    words = {
        "CLASS": "".join(part.capitalize() for part in name.split("-")),
        "TITLE": name.replace("-", " ").capitalize(),
        "MODULE": module,
        "NAME": name,
        "VERSION": __version__,
    }
    root = folder / f"lmkit-{name}"
    main = root / "src" / module / "__init__.py"
    files = {
        main: _MAIN,
        root / "pyproject.toml": _PROJECT,
        root / "README.md": _README,
        root / "tests" / f"test_{module}.py": _TEST,
    }
    try:
        root.mkdir()
        for file, template in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            text = re.sub(
                r"\b(CLASS|TITLE|MODULE|VERSION)\b|NAME", lambda found: words[found[0]], template
            )
            file.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise ScaffoldError(
            f"{root} is there already.", hint="Choose another name or folder."
        ) from None
    except OSError as error:
        raise ScaffoldError(
            f"{root} cannot be written: {error.strerror or error}.",
            hint="Choose a folder that is there and may be written to.",
        ) from error
    return MadePlugin(folder=root, main=main)
