"""From what a config calls a model to a `SentenceTransformer` in memory."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from kdhub.api import UsageError, near_matches
from kdret.quiet import no_progress_bars

_PACKAGE = "package://"


def load_sentence_transformer(model: str) -> SentenceTransformer:
    """Load a sentence encoder in float32 on the CPU; whoever trains it moves it.

    Args:
        model: A folder; a name on the Hugging Face hub; or ``package://NAME/FOLDER`` for weights that came inside an
            installed package.

    Raises:
        UsageError: If there is nothing of that name, or what is there cannot be read.
    """
    folder = model_folder(model)
    try:
        with no_progress_bars():
            return SentenceTransformer(str(folder or model), device="cpu").float()
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(
            f"cannot load the sentence encoder {model!r}",
            expected="a folder that SentenceTransformer.save wrote, a name on the hub, or package://NAME/FOLDER",
            got=_first_sentence(error),
            fix="check the name; with HF_HUB_OFFLINE=1 only what was downloaded before can be used"
            if folder is None
            else "copy the model again",
        ) from error


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
