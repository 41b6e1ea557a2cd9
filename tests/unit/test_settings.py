"""Sizes as people write them, and the budget of saved outputs."""

from __future__ import annotations

import pytest

import lmkit
from lmkit.errors import SettingError
from lmkit.settings import DEFAULT_BUDGET, Options, parse_size, size_text


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (500_000, 500_000), (1.5e6, 1_500_000), ("5MB", 5_000_000), ("5 mb", 5_000_000),
        ("5M", 5_000_000), ("1.5 GiB", 3 * 2**29), ("64KiB", 65_536), (" 700 ", 700), ("7b", 7),
    ],
)  # fmt: skip
def test_sizes_are_read(written: int | float | str, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "MB", "5 mega", "-5MB", "1e6MB", "5MB5", -1, True, "٥MB "])
def test_what_is_no_size_is_said_in_a_sentence(written: int | str) -> None:
    if written == "٥MB ":  # Python reads digits of every script
        assert parse_size(written) == 5_000_000
        return
    with pytest.raises(SettingError, match="is no size"):
        parse_size(written)


@pytest.mark.parametrize("size", [0, 999, 1_000, 64_000, 2_000_000, 5 * 10**9])
def test_a_written_size_is_read_back(size: int) -> None:
    text = size_text(size)
    assert parse_size(text.removesuffix(" bytes")) == size


def test_the_budget_is_2_mb_until_it_is_set() -> None:
    options = Options()
    assert options.budget == DEFAULT_BUDGET == 2_000_000
    options.budget = "5MB"
    assert options.budget == 5_000_000
    with pytest.raises(SettingError, match="out of bounds"):
        options.budget = 1_000
    with pytest.raises(SettingError, match="is no size"):
        options.budget = "much"
    assert options.budget == 5_000_000
    assert repr(options) == "<lmkit.options: budget 5 MB>"


def test_the_environment_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMKIT_BUDGET", "3MB")
    assert Options().budget == 3_000_000
    monkeypatch.setenv("LMKIT_BUDGET", "")
    assert Options().budget == DEFAULT_BUDGET
    monkeypatch.setenv("LMKIT_BUDGET", "lots")
    with pytest.raises(SettingError, match="'lots' is no size"):
        Options().budget  # noqa: B018


def test_it_is_found_where_the_docs_say() -> None:
    from lmkit import settings

    assert lmkit.options is settings.options
