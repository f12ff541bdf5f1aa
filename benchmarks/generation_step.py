"""One step of SwiftBrush in kdgen against a hand-written loop of the same mathematics: time as a ratio of one run.

A class-conditional U-Net of diffusers for images of 14 x 14 is teacher, student and fake score; the student is updated, then the fake
score on the same samples, by Adam with clipped gradients. Steps are interleaved A, B, B, A, ... and the median of the ratios pair by
pair is quoted. The benchmark stops if the student's losses differ in the pairs before the timed ones.

Usage: python benchmarks/generation_step.py [--pairs 40] [--batch 32] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from diffusers import UNet2DModel  # noqa: E402
from losses import TOLERANCE, require_equal  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.optim import OptimWrapper, OptimWrapperDict  # noqa: E402
from torch import Tensor  # noqa: E402

from kdhub.registry import build, init  # noqa: E402

WARM_UP = 3
"""Pairs that are not timed."""

T_MIN, T_MAX, TIME_SCALE = 0.006, math.pi / 2, 20.0
RATE, CLIP = 1e-4, 1.0

Step = Callable[[dict[str, Tensor]], float]
"""Trains on a batch of unit noise and labels, and returns the student's loss."""


def unet() -> UNet2DModel:
    """Return a network, the same at each call, that does not begin with zeros as diffusers' do."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=14,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        attention_head_dim=16,
        num_class_embeds=11,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def moved(net: UNet2DModel) -> UNet2DModel:
    """Move a network's weights a little, so that a copy of it disagrees with it."""
    torch.manual_seed(1)
    with torch.no_grad():
        for one in net.parameters():
            one.add_(0.02 * torch.randn_like(one))
    return net


def kdhub_step() -> Step:
    def denoiser(net: UNet2DModel) -> dict[str, Any]:
        noise = {"type": "kdgen.TrigFlowSchedule", "t_min": T_MIN, "time_scale": TIME_SCALE}
        return {"type": "kdgen.Denoiser", "net": net, "noise": noise, "pred_type": "v", "classes": 10}

    model = build(
        "model",
        {
            "type": "kdgen.SwiftBrush",
            "student": denoiser(unet()),
            "teacher": {"type": "kdhub.ModelTeacher", "own_weights": True, "model": denoiser(unet())},
            "fake_score": denoiser(moved(unet())),
            "fake_weighting": "none",
            "null_probability": 0.0,
        },
    ).train()
    wrappers = OptimWrapperDict(
        **{
            role: OptimWrapper(torch.optim.Adam(one.parameters(), RATE), clip_grad={"max_norm": CLIP})
            for role, one in model.roles.items()
        }
    )
    return lambda data: model.train_step(data, wrappers)["loss"].item()


def handwritten_step() -> Step:
    teacher, student, fake = unet().eval().requires_grad_(False), unet().train(), moved(unet()).train()
    optimizers = {net: torch.optim.Adam(net.parameters(), RATE) for net in (student, fake)}

    def velocity(net: UNet2DModel, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        said: Tensor = net(x, TIME_SCALE * t, labels).sample
        return said

    def noised(x: Tensor, low: float, high: float) -> tuple[Tensor, ...]:
        t = T_MIN + (T_MAX - T_MIN) * (low + (high - low) * torch.rand(len(x)))
        cos, sin, eps = t.cos()[:, None, None, None], t.sin()[:, None, None, None], torch.randn_like(x)
        return t, cos, sin, eps, cos * x + sin * eps

    def update(net: UNet2DModel, loss: Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizers[net].step()
        optimizers[net].zero_grad()

    def step(data: dict[str, Tensor]) -> float:
        noise, labels = data["inputs"], data["labels"]
        end = torch.full((len(noise),), T_MAX)
        sample = math.cos(T_MAX) * noise - math.sin(T_MAX) * velocity(student, noise, end, labels)
        with torch.no_grad():
            t, cos, sin, _, x_t = noised(sample, 0.02, 0.98)
            apart = velocity(teacher, x_t, t, labels) - velocity(fake, x_t, t, labels)
            gradient = sin.square() * cos * apart  # eps = sin x + cos v
            goal = sample - gradient
        loss = 0.5 * (sample - goal).square().mean()
        update(student, loss)
        t, cos, sin, eps, x_t = noised(sample.detach(), 0.0, 1.0)
        update(fake, (sin * x_t + cos * velocity(fake, x_t, t, labels) - eps).square().mean())
        return loss.item()

    return step


STEPS = {"kdhub": kdhub_step, "handwritten": handwritten_step}


def time_ratio(pairs: int, size: int) -> dict[str, float]:
    steps = {name: make() for name, make in STEPS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(pairs + WARM_UP):
        data = {"inputs": torch.randn(size, 1, 14, 14), "labels": torch.randint(10, (size,))}
        losses = {}
        for name in list(steps) if index % 2 else list(reversed(steps)):
            torch.manual_seed(index)  # both noise alike
            begin = time.perf_counter()
            losses[name] = steps[name](copy.copy(data))
            if index >= WARM_UP:
                seconds[name].append(time.perf_counter() - begin)
        if index < WARM_UP:
            require_equal(f"pair {index}", losses, "handwritten", {"kdhub": 10 * TOLERANCE})
    ratios = [ours / theirs for ours, theirs in zip(seconds["kdhub"], seconds["handwritten"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "kdhub_ms": 1e3 * statistics.median(seconds["kdhub"]),
        "handwritten_ms": 1e3 * statistics.median(seconds["handwritten"]),
        "ratio": statistics.median(ratios),
        "ratio_q1": quartiles[0],
        "ratio_q3": quartiles[2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="timed pairs of steps, at least 2 (default 40)")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch (default 32)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    init()
    timing = time_ratio(args.pairs, args.batch)
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), "time": timing}))
        return
    print(f"time    {timing['ratio']:.3f}x  (quartiles {timing['ratio_q1']:.3f} to {timing['ratio_q3']:.3f};", end=" ")
    print(
        f"kdhub {timing['kdhub_ms']:.0f} ms, hand-written {timing['handwritten_ms']:.0f} ms, {torch.get_num_threads()} threads)"
    )


if __name__ == "__main__":
    main()
