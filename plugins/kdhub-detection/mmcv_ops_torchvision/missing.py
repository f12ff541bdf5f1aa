"""What an operator that is not here says."""

from __future__ import annotations

from typing import NoReturn


def missing(operator: str) -> NoReturn:
    """Name an operator that torchvision has no kernel for, and the two ways out.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(
        f"mmcv's operator {operator!r} needs compiled code, and mmcv was installed without it; torchvision has no such kernel ->"
        " use a model that does without this operator, or build mmcv's own with a C++ compiler (and nvcc for CUDA):"
        " pip install setuptools ninja, then pip install --force-reinstall --no-deps --no-build-isolation --no-binary"
        " onedl-mmcv onedl-mmcv"
    )
