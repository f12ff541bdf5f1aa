"""What a run card says about retrieval besides the core's own lines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_SEARCHED = ("SentenceEncoder", "SparseEncoder", "MultiVectorEncoder")
_MODELS = (*_SEARCHED, "CrossEncoder")
_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "ir-measures", "faiss-gpu", "faiss-cpu")


def summary(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return versions of the libraries under kdret, if the run uses it.

    Args:
        run: The run card so far.
    """
    models = run.get("models") or {}
    if not any(model.get("type") in _MODELS for model in models.values()):
        return {}
    found: dict[str, Any] = {"versions": {name: version for name in _LIBRARIES if (version := _version(name))}}
    if models.get("student", {}).get("type") in _SEARCHED:
        command = f'kdhub search {shlex.quote(run.get("work_dir", "WORK_DIR"))} "read a csv file"'
        found["next"] = {"search with it": command}
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
