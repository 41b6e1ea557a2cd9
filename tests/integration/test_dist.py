"""The wheels as users get them: built, looked into, installed away from the source tree, run."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from tests.installed import PLUGINS, ROOT, build_wheels, install, run

pytestmark = pytest.mark.xdist_group("dist")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheels(tmp_path_factory.mktemp("dist"))


def wheel(dist: Path, name: str) -> Path:
    (found,) = dist.glob(f"{name}-*.whl")
    return found


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheels."""
    return install(dist, tmp_path_factory.mktemp("fresh") / "venv")


def test_there_is_a_wheel_for_each_distribution(dist: Path) -> None:
    names = {file.name.split("-")[0] for file in dist.iterdir()}
    assert names == {
        "lmkit_core",
        *("lmkit_" + folder.name.replace("-", "_") for folder in PLUGINS),
    }


def test_the_wheel_contains_the_front_end(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist, "lmkit_core")) as archive:
        sizes = {one.filename: one.file_size for one in archive.infolist()}
    assert 10_000 < sizes["lmkit/static/core.js"] <= 280_000
    assert 100 < sizes["lmkit/static/widget.js"] <= 2_048
    shared = [name for name in sizes if "/share/jupyter/labextensions/lmkit/" in name]
    ends = {name.split("/labextensions/lmkit/")[1] for name in shared}
    assert {"package.json", "install.json"} <= ends
    assert any(name.startswith("static/remoteEntry.") for name in ends)
    assert sum(name.endswith(".safetensors") for name in sizes) == 3
    assert "lmkit/locale/zh_CN/LC_MESSAGES/lmkit.json" in sizes
    assert "lmkit/py.typed" in sizes
    assert sum(sizes.values()) < 8_000_000


def test_the_bertviz_plugin_carries_its_libraries_and_their_licences(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist, "lmkit_bertviz")) as archive:
        names = archive.namelist()
    inside = {name.removeprefix("lmkit_bertviz/") for name in names}
    vendored = {"d3.min.js", "d3.LICENSE", "jquery.slim.min.js", "jquery.LICENSE"}
    assert {"page.js", "page.css", "py.typed", *(f"vendor/{name}" for name in vendored)} <= inside


def test_the_wheels_carry_nothing_of_the_workplace(dist: Path) -> None:
    for file in dist.iterdir():
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                assert not name.startswith(("tests/", "js/", "/")), name
                assert str(ROOT).encode() not in archive.read(name), name


def test_the_installed_command_works(python: Path) -> None:
    assert run(python, "-m", "lmkit", "--version").startswith("lmkit 0.")
    where = run(python, "-c", "import lmkit; print(lmkit.__file__)")
    assert str(ROOT) not in where
    listed = run(python, "-m", "lmkit", "plugins")
    assert "classification (lmkit-classification" in listed
    assert "bertviz (lmkit-bertviz" in listed
    assert "ready" in listed
    assert str(ROOT) not in run(
        python, "-c", "import lmkit_classification as plugin; print(plugin.__file__)"
    )
    assert "front end: built" in run(python, "-m", "lmkit", "doctor")


def test_jupyter_finds_the_labextension(python: Path) -> None:
    code = (
        "from jupyterlab.labextensions import main\n"
        "import sys; sys.stderr = sys.stdout; sys.argv = ['x', 'list']; main()"
    )
    listed = re.sub(r"\x1b\[[0-9;]*m", "", run(python, "-c", code))
    assert re.search(r"lmkit v0\.\S+ enabled +OK \(python, lmkit-core\)", listed), listed
    prefix = run(python, "-c", "import sys; print(sys.prefix)").strip()
    assert f"{prefix}/share/jupyter/labextensions" in listed


def test_jupyter_finds_the_catalogue_of_the_settings(python: Path) -> None:
    code = (
        "from jupyterlab_server.translation_utils import get_installed_packages_locale as find\n"
        "import sys; found, message = find('zh_CN')\n"
        "print(found['lmkit']['']['domain'], len(found['lmkit']), message.strip())\n"
        "print('torch' in sys.modules)"
    )
    said, torch = run(python, "-c", code).splitlines()
    domain, texts, *problems = said.split()
    assert (domain, problems) == ("lmkit", [])
    assert int(texts) > 5
    assert torch == "False"  # the server imports lmkit for it, and nothing heavy
