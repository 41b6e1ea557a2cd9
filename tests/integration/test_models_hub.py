"""The way from a hub id to a loaded model, over a hub that this test serves itself."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

from lmkit.errors import LmkitError, ModelError, ModelNotFoundError, UnsafeCheckpointError
from lmkit.models import ModelStore
from lmkit.models.hub import fetch
from lmkit.protocol.messages import Progress
from lmkit.work import Work, doing
from tests import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLASSIFY = "AutoModelForSequenceClassification"


@dataclass
class Hub:
    """Repositories by name, each a table of files; what was asked for is kept."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = unquote(path).lstrip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            if name in self.refusals:
                status, code = self.refusals[name]
                return status, {"X-Error-Code": code}, b"{}"
            if name not in self.repositories:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            if parts[4:5] == ["revision"] and parts[5:] not in (["main"], [COMMIT]):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            files = [
                {"rfilename": file, "size": len(data)}
                for file, data in self.repositories[name].items()
            ]
            about = {"id": name, "sha": COMMIT, "siblings": files}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        name, file = "/".join(parts[:2]), "/".join(parts[4:])
        data = self.repositories.get(name, {}).get(file)
        if data is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        if file in self.broken:
            return 403, {}, b""
        tag = hashlib.sha256(data).hexdigest()
        return 200, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, data


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(body=True)

        def do_HEAD(self) -> None:
            self.reply(body=False)

        def reply(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            status, headers, data = hub.answer(path)
            if body and "/resolve/" in path:
                hub.downloads.append(unquote(path).rpartition(f"{COMMIT}/")[2])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_hub_id_loads_and_is_then_cached(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tiny.tiny_bert(tmp_path / "bert"))
    extras = {
        "pytorch_model.bin": b"pickle",
        "model.fp16.safetensors": b"other",
        "own.py": b"raise SystemExit",
        "onnx/model.safetensors": b"other",
        "picture.png": b"png",
    }
    hub.repositories["someone/bert"] = files | extras
    said: list[Progress] = []
    store = ModelStore(device="cpu")
    with doing(Work(said.append)):
        loaded = store.get("someone/bert", CLASSIFY)
    assert loaded.trace(tiny.TEXT).layers
    assert loaded.name == "someone/bert"
    assert getattr(loaded, "revision", None) == COMMIT
    assert sorted(hub.downloads) == sorted(files)
    labels = list(dict.fromkeys(p.label for p in said))
    assert labels[0] == "Asking the hub for someone/bert"
    assert "Downloading someone/bert" in labels
    assert labels[-1] == "Loading someone/bert"

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    store.clear()
    assert loaded.trace(tiny.TEXT).layers
    assert ModelStore(device="cpu").get("someone/bert", CLASSIFY).trace(tiny.TEXT).layers
    assert sorted(hub.downloads) == sorted(files)


def refused(kind: type[LmkitError], repo: str, revision: str | None = None) -> LmkitError:
    with pytest.raises(kind) as caught:
        fetch(repo, revision)
    assert caught.value.hint
    return caught.value


def test_a_pickle_is_refused_before_it_is_fetched(hub: Hub) -> None:
    hub.repositories["someone/old"] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    assert "pytorch_model.bin" in refused(UnsafeCheckpointError, "someone/old").message
    assert hub.downloads == []
    folder, commit = fetch("someone/old", allow_pickle=True)
    assert commit == COMMIT
    assert (folder / "pytorch_model.bin").read_bytes() == b"pickle"


def test_code_is_fetched_only_when_trusted(hub: Hub) -> None:
    hub.repositories["someone/own"] = {"config.json": b"{}", "own.py": b"pass"}
    folder, _ = fetch("someone/own")
    assert not (folder / "own.py").exists()
    folder, _ = fetch("someone/own", code=True)
    assert (folder / "own.py").exists()


def test_what_the_hub_does_not_have(hub: Hub) -> None:
    assert "no model 'someone/nothing'" in refused(ModelNotFoundError, "someone/nothing").message
    hub.repositories["someone/bert"] = {"config.json": b"{}"}
    error = refused(ModelNotFoundError, "someone/bert", "no-branch")
    assert "no revision 'no-branch'" in error.message


@pytest.mark.parametrize(("status", "code"), [(403, "GatedRepo"), (401, "GatedRepo"), (403, "")])
def test_a_gated_model_says_how_to_ask(hub: Hub, status: int, code: str) -> None:
    hub.refusals["someone/gated"] = (status, code)
    error = refused(ModelError, "someone/gated")
    assert "does not give someone/gated to you" in error.message
    assert "HF_TOKEN" in error.hint


def test_a_download_that_breaks_off_names_the_file(hub: Hub) -> None:
    hub.repositories["someone/bert"] = {"config.json": b"{}", "model.safetensors": b"x" * 99}
    hub.broken.add("model.safetensors")
    error = refused(ModelError, "someone/bert")
    assert error.message == "The download of someone/bert broke off at model.safetensors."


def test_a_hub_that_fails_is_as_good_as_none(hub: Hub) -> None:
    hub.refusals["someone/bert"] = (500, "")
    error = refused(ModelNotFoundError, "someone/bert")
    assert "cannot be reached" in error.message
