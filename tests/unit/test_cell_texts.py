"""Texts of cells and outputs are replaced where they stand, and code is left alone."""

from __future__ import annotations

import ast
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.cell_texts import pictures_in, rewrite_code, rewrite_texts


def hidden(text: str, prose: bool) -> str:
    """Ada Lovelace is a name; her own one alone is known elsewhere too."""
    made = text.replace("Ada Lovelace", "[PERSON 1]")
    return made if prose else made.replace("Ada", "[PERSON 2]")


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("x = 'Ada Lovelace'", "x = '[PERSON 1]'"),
        ("Ada = Lovelace  # Ada Lovelace", "Ada = Lovelace  # [PERSON 1]"),
        ('"""Of Ada Lovelace\'s.\n"quoted"\n"""', '"""Of [PERSON 1]\'s.\n"quoted"\n"""'),
        (r"x = 'Ada Lovelace\'s \\ \t\u00e9'", r"x = '[PERSON 1]\'s \\ \té'"),
        (r"x = 'Ada\x20Lovelace'", "x = '[PERSON 1]'"),
        (r"x = r'\d Ada Lovelace'", r"x = r'\d [PERSON 1]'"),
        ("x = b'Ada Lovelace'", "x = b'[PERSON 1]'"),
        ("x = f'{Ada} Ada Lovelace {{x}}'", "x = f'{Ada} [PERSON 1] {{x}}'"),
        ("x = f'{d[\"Ada Lovelace\"]:>{w}} y'", "x = f'{d[\"[PERSON 1]\"]:>{w}} y'"),
        ('x = f"{d["Ada Lovelace"]} Ada Lovelace"', 'x = f"{d["[PERSON 1]"]} [PERSON 1]"'),
        ("x = f'{a:#x} Ada Lovelace' # y", "x = f'{a:#x} [PERSON 1]' # y"),
        ("x = (a\n  % Ada)", "x = (a\n  % Ada)"),
        ("x = a \\\n  % Ada", "x = a \\\n  % Ada"),
        ("x = a != Ada", "x = a != Ada"),
        (
            "%lm ner --text 'Ada Lovelace lived' --model Ada/x",
            "%lm ner --text '[PERSON 1] lived' --model [PERSON 2]/x",
        ),
        ("y = 1\n!echo Ada", "y = 1\n!echo [PERSON 2]"),
        ("z = !ls 'Ada Lovelace'", "z = !ls '[PERSON 1]'"),
        ("%%lm ner --model m\nAda Lovelace's", "%%lm ner --model m\n[PERSON 1]'s"),
        ("\n%%lm ner\nAda Lovelace", "\n%%lm ner\n[PERSON 1]"),
        ("%%time\nAda = 'Ada Lovelace'", "%%time\nAda = '[PERSON 1]'"),
        ("x = 'Ada Lovelace", "x = '[PERSON 1]"),
        ("x = '''Ada Lovelace\n", "x = '''[PERSON 1]\n"),
        ("x = 1", "x = 1"),
        ("", ""),
    ],
)  # fmt: skip
def test_strings_comments_and_magics_are_rewritten(code: str, wanted: str) -> None:
    assert rewrite_code(code, hidden) == wanted


def test_what_a_string_cannot_hold_leaves_it() -> None:
    def worse(text: str, prose: bool) -> str:
        return text.replace("Ada", "A'\n\\{")

    assert rewrite_code("x = r'Ada'", worse) == "x = r'Ada'"
    assert rewrite_code("x = 'Ada'", worse) == "x = 'Ada'"
    assert rewrite_code("x = 'Ada\\t'", worse) == "x = 'A\\'\\n\\\\{\\t'"
    assert rewrite_code("#Ada\nx = 1", lambda text, prose: "a\nb c") == "#Ada\nx = 1"


PIECES = st.sampled_from(
    ["'", '"', '"""', "'''", "f'", "r'", "{", "}", "\\", "\n", "#", "%", "!", "=", "(", ")", " ",
     "Ada Lovelace", "Ada", "x", "1", "\\'", "b'", "é", "%%time\n", "{{"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=25).map("".join))
def test_any_source_is_kept_but_for_its_texts(code: str) -> None:
    assert rewrite_code(code, lambda text, prose: text) == code
    made = rewrite_code(code, hidden)
    try:
        before = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    after = ast.parse(made)

    def shape(tree: ast.AST) -> list[str]:
        return [
            type(node).__name__ if isinstance(node, ast.Constant) else ast.dump(node, False)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant | ast.Name | ast.operator)
        ]

    assert shape(after) == shape(before)


def test_outputs_and_metadata_of_a_notebook() -> None:
    ours = {"output_type": "display_data", "data": {"ours": 1, "text/plain": "Ada Lovelace"}}
    notebook: dict[str, Any] = {
        "nbformat": 4,
        "metadata": {"title": "By Ada", "kernelspec": {"name": "Ada"}},
        "cells": [
            {"cell_type": "markdown", "source": ["# Ada Lovelace\n", "b"], "metadata": {}},
            {
                "cell_type": "code",
                "source": "print(Ada)",
                "metadata": {"tags": ["Ada"]},
                "outputs": [
                    {"output_type": "stream", "text": ["a\n", "\x1b[31mAda\x1b[0m Lovelace\n"]},
                    ours,
                    {
                        "output_type": "execute_result",
                        "data": {
                            "text/plain": "'Ada Lovelace'",
                            "text/html": "<b title='Ada'>Ada</b> &amp; <i>O&#x27;Ada</i>",
                            "application/json": {"of": ["Ada", 1]},
                            "image/png": "Ada",
                        },
                        "metadata": {},
                    },
                    {
                        "output_type": "error",
                        "ename": "E",
                        "evalue": "Ada Lovelace",
                        "traceback": ["\x1b[31mAda", "x"],
                    },
                ],
            },
            {"cell_type": "code", "source": 3, "outputs": None},
            "no cell",
        ],
    }
    before = copy.deepcopy(notebook)
    places = rewrite_texts(notebook, hidden, lambda output: "ours" in output.get("data", {}))
    assert places == (
        "source of cell 1", "output of cell 2", "metadata of cell 2", "notebook's metadata",
    )  # fmt: skip
    first, second = notebook["cells"][:2]
    assert first["source"] == ["# [PERSON 1]\n", "b"]
    assert second["source"] == "print(Ada)"
    printed, kept, result, error = second["outputs"]
    assert printed["text"] == ["a\n", "[PERSON 1]\n"]
    assert kept == ours
    assert result["data"] == {
        "text/plain": "'[PERSON 1]'",
        "text/html": "<b title='[PERSON 2]'>[PERSON 2]</b> &amp; <i>O'[PERSON 2]</i>",
        "application/json": {"of": ["[PERSON 2]", 1]},
        "image/png": "Ada",
    }
    assert error["evalue"] == "[PERSON 1]"
    assert error["traceback"] == ["[PERSON 2]", "x"]
    assert notebook["metadata"] == {"title": "By [PERSON 2]", "kernelspec": {"name": "Ada"}}
    assert pictures_in(notebook, lambda output: False) == ["cell 2"]
    again = copy.deepcopy(before)
    assert rewrite_texts(again, lambda text, prose: text, lambda output: False) == ()
    assert again == before
