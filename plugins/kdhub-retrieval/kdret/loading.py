"""From what a config calls a model to one of sentence-transformers' models in memory."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any, TypeVar

from mmengine.logging import print_log
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.util import load_file_path
from torch import nn

from kdhub.api import UsageError, near_matches
from kdret.quiet import no_progress_bars

_PACKAGE = "package://"
_KINDS = {
    "SentenceTransformer": "sentence encoder",
    "SparseEncoder": "sparse encoder",
    "MultiVectorEncoder": "multi-vector encoder",
    "CrossEncoder": "cross-encoder",
}

Library = TypeVar("Library", bound=nn.Module)
"""One of sentence-transformers' model classes."""


def load_sentence_transformer(model: str) -> SentenceTransformer:
    """Load a dense sentence encoder; see `load_text_model`."""
    return load_text_model(model, SentenceTransformer)


def load_encoder(model: str) -> SentenceTransformer | SparseEncoder | MultiVectorEncoder:
    """Load an encoder of texts, dense, sparse or late-interaction, by what its folder says; see `load_text_model`."""
    kind = _saved(model)
    if kind == "SparseEncoder":
        return load_text_model(model, SparseEncoder)
    return load_text_model(model, MultiVectorEncoder if kind == "MultiVectorEncoder" else SentenceTransformer)


def load_teacher(model: str) -> SentenceTransformer | SparseEncoder | MultiVectorEncoder | CrossEncoder:
    """Load what scores documents for a query: an encoder, or a cross-encoder; see `load_text_model`."""
    if _saved(model) == "CrossEncoder" or _classifies(model):
        return load_text_model(model, CrossEncoder)
    return load_encoder(model)


def load_text_model(model: str, library: type[Library]) -> Library:
    """Load a model in float32 on the CPU; whoever trains it moves it.

    Args:
        model: A folder; a name on the Hugging Face hub; or ``package://NAME/FOLDER`` for weights that came inside an
            installed package.
        library: The class of sentence-transformers that reads it.

    Raises:
        UsageError: If there is nothing of that name, or what is there cannot be read, or is a model of another kind that
            sentence-transformers would take apart without a word.
    """
    folder = model_folder(model)
    if folder is not None:
        _require_kind(model, saved_kind(str(folder)), library)
    try:
        with no_progress_bars():
            return library(str(folder or model), device="cpu").float()
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(
            f"cannot load the {_KINDS[library.__name__]} {model!r}",
            expected=f"a folder that {library.__name__}.save wrote, a name on the hub, or package://NAME/FOLDER",
            got=_first_sentence(error),
            fix="check the name; with HF_HUB_OFFLINE=1 only what was downloaded before can be used"
            if folder is None
            else "copy the model again",
        ) from error


def absolute_model(model: str) -> str:
    """Return a model's name as it holds in any folder; see `model_folder`."""
    folder = None if model.startswith(_PACKAGE) else model_folder(model)
    return model if folder is None else str(folder.absolute())


def model_folder(model: str) -> Path | None:
    """Return the folder that a model name means, or ``None`` for a name on the hub.

    Raises:
        UsageError: If the package is not installed or has no such folder, or the path does not exist.
    """
    if model.startswith(_PACKAGE):
        return _package_folder(model)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    # names on the hub are NAME or OWNER/NAME; everything else can only be a path
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        siblings = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UsageError(f"no model folder {model!r}", near=near_matches(folder.name, siblings))
    return None


def saved_kind(model: str) -> str | None:
    """Return the class that saved a model, in a folder or on the hub; ``None`` for a plain model of transformers."""
    described = _described(model, "config_sentence_transformers.json")
    return None if described is None else str(described.get("model_type", "SentenceTransformer"))


def _saved(model: str) -> str | None:
    return saved_kind(str(model_folder(model) or model))


def _classifies(model: str) -> bool:
    """Whether a model is one of transformers for sequence classification, as cross-encoders on the hub are."""
    described = _described(str(model_folder(model) or model), "config.json") or {}
    return any(str(name).endswith("ForSequenceClassification") for name in described.get("architectures") or ())


def _described(model: str, name: str) -> dict[str, Any] | None:
    path = load_file_path(model, name)
    if path is None:
        return None
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _require_kind(model: str, saved: str | None, library: type[nn.Module]) -> None:
    if saved in (None, library.__name__):
        return
    if library is SentenceTransformer:
        # of another kind's model it would keep the transformer and take the mean of its tokens, which nobody trained
        raise UsageError(
            f"{model!r} holds a {saved}, not a SentenceTransformer",
            expected="a dense sentence encoder",
            fix=f"in a config, take it as kdret.{saved}",
        )
    print_log(
        f"{model}: saved as a {saved}; what a {library.__name__} has besides its transformer is new and random",
        logger="current",
    )


def _package_folder(model: str) -> Path:
    package, _, inside = model.removeprefix(_PACKAGE).partition("/")
    try:
        root = Path(str(importlib.resources.files(package)))
    except (ModuleNotFoundError, ValueError) as error:
        raise UsageError(
            f"package {package!r} is not installed, and the model {model!r} is inside it",
            fix=f"pip install {package.replace('_', '-')}",
        ) from error
    folder = root / inside
    if not folder.is_dir():
        there = [entry.name for entry in root.iterdir() if entry.is_dir()]
        raise UsageError(
            f"package {package!r} has no folder {inside!r}",
            expected=f"one of {', '.join(sorted(there))}",
            near=near_matches(inside, there),
        )
    return folder


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:200]
