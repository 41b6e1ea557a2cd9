"""From a name to a folder: starters, folders, and a hub that does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from lmkit.errors import ModelNotFoundError
from lmkit.models.hub import looks_like_hub_id
from lmkit.models.sources import locate


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A hub at a port that is ours and does not listen, and an empty cache."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield


def cached_model(cache: str, repo: str, commit: str) -> Path:
    home = Path(cache) / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_folder_comes_before_the_hub(
    no_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name").folder == Path("owner/name")


@pytest.mark.usefixtures("no_hub")
def test_an_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def patient(seconds: float) -> None:
        raise AssertionError("the hub is asked again and again")

    monkeypatch.setattr(time, "sleep", patient)
    with pytest.raises(ModelNotFoundError) as caught:
        locate("someone/some-model")
    assert caught.value.message == (
        "The model hub cannot be reached, and 'someone/some-model' is not in the local cache."
    )
    assert "starter:sentiment" in caught.value.hint


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("offline", [True, False])
def test_what_is_cached_needs_no_hub(monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = cached_model(constants.HF_HUB_CACHE, "someone/some-model", commit)
    for revision in (None, "main", commit):
        found = locate("someone/some-model", revision)
        assert found.folder == snapshot
        assert found.revision == commit
    with pytest.raises(ModelNotFoundError):
        locate("someone/some-model", "another-branch")


@pytest.mark.usefixtures("no_hub")
def test_offline_mode_is_obeyed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE is set"):
        locate("someone/some-model")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("starter:sentimnt", "Did you mean starter:sentiment?"),
        ("starter:SENTIMENT", "Did you mean starter:sentiment?"),
        ("starters:news", "Did you mean starter:news?"),
        ("starter:", "starter:sentiment"),
        ("./no/such/folder", "Give a folder"),
        ("/no/such/folder", "Give a folder"),
        ("a/b/c", "Give a folder"),
        ("C:\\models\\x", "Give a folder"),
        ("../../etc/passwd\0", "Give a folder"),
        ("x" * 5_000, "Give a folder"),
        ("", "starter:sentiment"),
        ("<img src=x onerror=alert(1)>", "Give a folder"),
    ],
)
def test_a_wrong_name_is_one_sentence_with_a_way_on(name: str, hint: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        locate(name)
    assert hint in caught.value.hint
    assert len(caught.value.message) < 300


@pytest.mark.usefixtures("no_hub")
def test_a_bare_starter_name_is_recognised() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        locate("sentiment")
    assert caught.value.hint == "Did you mean starter:sentiment?"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="is a file"):
        locate(str(file))


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("bert-base-uncased", True),
        ("google/t5-v1_1.small", True),
        ("a/b/c", False),
        ("../x", False),
        ("a..b", False),
        ("owner/", False),
        ("owner/naïve", False),
        ("owner name", False),
        ("x" * 97, False),
    ],
)
def test_names_that_the_hub_takes(name: str, is_id: bool) -> None:
    assert looks_like_hub_id(name) is is_id
