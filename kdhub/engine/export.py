"""The core's own way to write a student: weights that every library reads, and the model's part of the config."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor, nn


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any]) -> str:
    """Write ``model.safetensors`` and ``model.py`` into an existing folder.

    Weights that share memory are written once under each of their names, so that the file loads with any reader. A student of
    transformers gets its ``config.json`` beside them.

    Args:
        student: The bare student.
        path: Folder to fill.
        cfg: The run's config, whose ``model`` is the student's own or holds it; no ``model.py`` if it was built elsewhere.

    Returns:
        A line of Python that loads the weights without kdhub; it names what of the student is no tensor, which is not written.
    """
    state = student.state_dict()
    # a module's extra state may be anything, and the format holds tensors alone
    weights = {
        name: value.detach().cpu().clone().contiguous() for name, value in state.items() if isinstance(value, Tensor)
    }
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    model = cfg.get("model")
    if isinstance(model, Mapping):
        Config({"model": model.get("student", model)}).dump(str(path / "model.py"))
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
