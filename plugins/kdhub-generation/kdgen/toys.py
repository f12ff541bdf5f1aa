"""Configs of toys on the plane, for tests and toy tables: exact teachers of a ring, and small networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from kdgen.distiller import GeneratorDistiller

COSINE: Mapping[str, Any] = {"type": "kdgen.CosineSchedule", "t_min": 0.0, "t_max": 1.0}


def net(classes: int = 0, **more: Any) -> dict[str, Any]:
    """Config of a small network for points."""
    return {"type": "kdgen.MLP", "width": 32, "depth": 2, "classes": classes, **more}


def student(classes: int = 0, noise: Mapping[str, Any] = COSINE, pred_type: str = "x0", **more: Any) -> dict[str, Any]:
    """Config of a generator of points."""
    return {
        "type": "kdgen.Denoiser",
        "net": net(classes),
        "noise": noise,
        "pred_type": pred_type,
        "classes": classes,
        **more,
    }


def exact_teacher(classes: int = 0, noise: Mapping[str, Any] = COSINE, **ring: Any) -> dict[str, Any]:
    """Config of the exact teacher of a ring."""
    score = {"type": "kdgen.RingScore", "noise": noise, "classes": classes, **ring}
    pred_type = ring.get("pred_type", "eps")
    model = {"type": "kdgen.Denoiser", "net": score, "noise": noise, "classes": classes, "pred_type": pred_type}
    return {"type": "kdhub.ModelTeacher", "own_weights": True, "model": model}


def learned_teacher(classes: int = 0, noise: Mapping[str, Any] = COSINE, pred_type: str = "eps") -> dict[str, Any]:
    """Config of a teacher with weights, which know nothing."""
    return {"type": "kdhub.ModelTeacher", "own_weights": True, "model": student(classes, noise, pred_type)}


def optimizers(model: GeneratorDistiller, lr: float = 1e-3) -> OptimWrapperDict:
    """An optimizer for each role."""
    return OptimWrapperDict(
        **{role: OptimWrapper(torch.optim.SGD(module.parameters(), lr)) for role, module in model.roles.items()}
    )
