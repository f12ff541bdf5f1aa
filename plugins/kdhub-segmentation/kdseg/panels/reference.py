"""The student that another run left behind, to compare with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from torch import nn

from kdhub.api import UsageError, load_weights

_CONFIG, _WEIGHTS = "config.py", "student.pth"


def load_reference(path: str | Path, like: nn.Module, classes: Sequence[str]) -> nn.Module:
    """Load a segmentor to compare the student with.

    Args:
        path: Folder that kdhub exported (``config.py`` and ``student.pth``), the work_dir around it, or a file with
            weights of ``like``'s own architecture.
        like: The student.
        classes: Class names of the data on which both will be compared.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        UsageError: If there is no such student, its weights do not fit, or it knows other classes.
    """
    place = Path(path)
    folder = next((one for one in (place, place / "student") if (one / _WEIGHTS).is_file()), None)
    if folder is not None:
        model, file = _build(folder / _CONFIG), folder / _WEIGHTS
    elif place.is_file():
        model, file = copy.deepcopy(like), place
    else:
        raise UsageError(
            "no student to compare with",
            where=str(place),
            expected=f"a folder with {_CONFIG} and {_WEIGHTS}, a work_dir with such a folder, or a checkpoint",
            fix="train it first, or leave `reference` out",
        )
    meta = load_weights(model, file)
    known = (meta.get("dataset_meta") or {}).get("classes")
    if known and list(known) != list(classes):
        raise UsageError(
            "the student to compare with knows other classes than the data",
            where=str(file),
            expected=", ".join(classes),
            got=", ".join(known),
        )
    return model.eval()


def _build(config: Path) -> nn.Module:
    from mmseg.registry import MODELS

    if not config.is_file():
        raise UsageError("weights without the config of their model", where=str(config.parent), expected=_CONFIG)
    # whatever the run's own scope is, an exported student is mmseg's
    return MODELS.build({"_scope_": "mmseg", **Config.fromfile(config).model})
