"""``%load_ext lmkit`` must stay quick: naming the store imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys


def test_a_store_is_made_without_torch() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'ipywidgets', 'tokenizers', 'huggingface_hub'):\n"
        "    sys.modules[name] = None\n"
        "import lmkit.models\n"
        "store = lmkit.models.ModelStore()\n"
        "assert store.list() == ()\n"
        "assert callable(lmkit.models.devices)\n"
        "try:\n"
        "    lmkit.models.nothing\n"
        "except AttributeError as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "no attribute 'nothing'" in ran.stdout
