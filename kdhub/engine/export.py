"""The core's own way to write a student: weights that every library reads, and the model's part of the config."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn

from kdhub.config.read.writable import config_text
from kdhub.config.standing import student_as_it_stands
from kdhub.errors import UsageError


class NotFiniteError(UsageError):
    """A student holds NaN or infinite weights, so it is of no use."""


def require_finite(student: nn.Module, where: str) -> None:
    """See that a student's weights are numbers.

    Args:
        student: The bare student. Buffers may hold infinities, as masks do, but no NaN.
        where: What to call the export in the error.

    Raises:
        NotFiniteError: Naming the first weights that are not.
    """
    bad = [name for name, one in student.named_parameters() if not one.isfinite().all()]
    bad += [name for name, one in student.named_buffers() if one.isnan().any()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise NotFiniteError(
            f"the student is not exported: it holds NaN or infinite weights in {', '.join(bad[:3])}{more}",
            where=where,
            fix="train again from a checkpoint before they came, with a smaller learning rate or clip_grad, and leave"
            " guards.non_finite on",
        )


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any]) -> str:
    """Write ``model.safetensors`` and ``model.py`` into an existing folder.

    Weights that share memory are written once under each of their names, so that the file loads with any reader. A student of
    transformers gets its ``config.json`` beside them.

    Args:
        student: The bare student.
        path: Folder to fill.
        cfg: The run's config, whose ``model`` is the student's own or holds it; no ``model.py`` if it was built elsewhere.
            The file is a config that stands on its own: the preprocessor in force, and where the names in it are found.

    Returns:
        A line of Python that loads the weights without kdhub; it names what of the student is no tensor, which is not written.
    """
    state = student.state_dict()
    # a module's extra state may be anything, and the format holds tensors alone
    weights = {
        name: value.detach().cpu().clone().contiguous() for name, value in state.items() if isinstance(value, Tensor)
    }
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    alone = student_as_it_stands(cfg)
    if isinstance(alone["model"], Mapping):
        (path / "model.py").write_text(config_text(Config(alone)), encoding="utf-8")
    write_config = getattr(getattr(student, "config", None), "save_pretrained", None)
    if callable(write_config) and hasattr(student, "from_pretrained"):
        write_config(path)  # config.json, which with the weights makes a folder of transformers
        return f"{_importable(type(student))}.from_pretrained('student')"
    without = [name for name in state if name not in weights]
    strict = f", strict=False)  # without {', '.join(without)}" if without else ")"
    return f"model.load_state_dict(safetensors.torch.load_file('model.safetensors'){strict}"


def _importable(cls: type) -> str:
    """Return where a class can be imported from, by its package's own name if that exports it."""
    package = cls.__module__.partition(".")[0]
    exported = getattr(sys.modules.get(package), cls.__qualname__, None) is cls
    return f"{package if exported else cls.__module__}.{cls.__qualname__}"
