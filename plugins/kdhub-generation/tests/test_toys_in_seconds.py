"""The toys of the cards in seconds, with margins; `tools/generation_evidence.py` has them in full."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS

from kdgen.methods.boot import BOOT
from kdgen.methods.score import SDS, SwiftBrush
from kdgen.methods.tbcm import TBCM
from kdgen.metrics import ring_quality
from kdgen.ring import Ring
from kdgen.sampling import ddim
from kdgen.toys import exact_teacher, student

TRIG = {"type": "kdgen.TrigFlowSchedule"}
NONE = torch.zeros(2000, dtype=torch.long)
pytestmark = pytest.mark.timeout(400)  # seconds of work, on a machine that may be busy
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


def fitted(module, steps, lr, loss_of):
    """Fit a module by Adam."""
    optimizer = torch.optim.Adam(module.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()
    return module


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


def test_tbcm_makes_a_teacher_sample_in_one_step():
    """The card: one step falls from 1.418 to 0.130; the velocity that it begins with ends in the middle of the ring."""
    scaled = {"radius": math.sqrt(2), "std": 0.106}
    own, ring = wide(student(noise=TRIG, pred_type="v")), Ring(**scaled)
    torch.manual_seed(0)
    before = MODELS.build(own)
    fitted(before, 300, 3e-3, lambda: before.denoising_loss(ring.sample(256)))
    model = TBCM(own, exact_teacher(noise=TRIG, pred_type="x0", **scaled), points=6, tangent_warmup=20)
    model.student.load_state_dict(before.state_dict())
    trained(model, 80, 3e-3, 64)
    found = {}
    for name, one in (("before", before), ("after", model.student)):
        points = ddim(one, torch.randn(2000, 2), None, one.noise.t_list(1))
        found[name] = ring_quality(points, NONE, ring)["sliced_w2"]
    assert found["after"] < 0.6 * found["before"]
