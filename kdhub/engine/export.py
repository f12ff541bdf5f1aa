"""The core's own way to write a student: weights that every library reads."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import nn


def export_student(student: nn.Module, path: Path) -> str:
    """Write ``model.safetensors`` into an existing folder.

    Weights that share memory are written once under each of their names, so that the file loads with any reader.

    Args:
        student: The bare student.
        path: Folder to fill.

    Returns:
        A line of Python that loads the weights without kdhub.
    """
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in student.state_dict().items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))"
