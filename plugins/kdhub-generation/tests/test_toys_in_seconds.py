"""The toys of the cards in seconds, with margins; `tools/generation_evidence.py` has them in full."""

import math

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from kdgen.methods.boot import BOOT
from kdgen.methods.score import SDS, SwiftBrush
from kdgen.metrics import ring_quality
from kdgen.ring import Ring
from kdgen.sampling import ddim
from kdgen.toys import exact_teacher, student

INSIDE = {"type": "kdgen.CosineSchedule", "t_min": 0.005, "t_max": 0.995}


def wide(denoiser):
    """A generator with a network that can hold a ring."""
    return {**denoiser, "net": {"type": "kdgen.MLP", "width": 96, "depth": 3, "classes": denoiser["classes"]}}


def trained(model, steps, lr, size=128, classes=0):
    """Train all roles by Adam, with a rate that falls to 0."""
    adam = {role: torch.optim.Adam(module.parameters(), lr) for role, module in model.roles.items()}
    wrappers = OptimWrapperDict(**{role: OptimWrapper(one, clip_grad={"max_norm": 1.0}) for role, one in adam.items()})
    for step in range(steps):
        for one in adam.values():
            one.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        labels = {"labels": torch.randint(classes, (size,))} if classes else {}
        model.train_step({"inputs": torch.randn(size, 2), **labels}, wrappers)
    return model


def test_swiftbrush_finds_both_modes_where_sds_collapses():
    """The card: VSD finds both modes of each prompt, SDS none. A fake score that is not heard makes the one the other."""
    labels = torch.arange(2000) % 2
    found = {}
    for name, made in (
        ("vsd", lambda: SwiftBrush(wide(student(2)), exact_teacher(2, modes=4), wide(student(2, pred_type="eps")))),
        ("sds", lambda: SDS(wide(student(2)), exact_teacher(2, modes=4))),
    ):
        torch.manual_seed(0)
        model = trained(made(), 600, 3e-3, classes=2)
        with torch.no_grad():
            points = model.student.generate(torch.randn(2000, 2), labels)
        found[name] = ring_quality(points, labels, Ring(modes=4, classes=2))
    assert found["vsd"]["modes"] == 2
    assert found["sds"]["modes"] <= 1
    assert found["vsd"]["sliced_w2"] < 0.6 * found["sds"]["sliced_w2"]


def test_boot_ends_where_fifty_steps_end():
    """The card: RMSE 0.143 to the end point of the same noise, and 1.41 for the teacher in one step."""
    model = trained(BOOT(wide(student(noise=INSIDE, t_list=[0.005])), exact_teacher(noise=INSIDE)), 500, 3e-3, 256)
    noise, times = torch.randn(2000, 2), model.teacher.noise.t_list
    ends = ddim(model.teacher, noise, None, times(100))
    ours, theirs = (
        float((ddim(one, noise, None, grid) - ends).square().mean().sqrt())
        for one, grid in ((model.student, model.student.t_list), (model.teacher, times(1)))
    )
    assert ours < 0.5 * theirs
