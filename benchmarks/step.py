"""One Distiller step against a hand-written loop of the same mathematics: time and peak memory as ratios of one run.

ResNet-34 teaches ResNet-18: cross-entropy, temperature KL on logits and MSE on one feature map. Steps are interleaved
A, B, B, A, ... and the median of the ratios pair by pair is quoted; peak memory is taken in a process of its own for each.
Each step ends with the value of its loss, and the benchmark stops if the two differ in the pairs before the timed ones.

Usage: python benchmarks/step.py [--pairs 40] [--batch 16] [--side 96] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from losses import TOLERANCE, require_equal  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torchvision.models import resnet18, resnet34  # noqa: E402

from kdhub.distill.distiller import Distiller  # noqa: E402
from kdhub.distill.teachers import ModelTeacher, Teacher  # noqa: E402

WARM_UP = 3
"""Pairs that are not timed."""

Step = Callable[[dict[str, Any]], float]
"""Trains on a batch and returns the loss."""


class Classifier(BaseModel):
    """A torchvision network as an mmengine model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs, labels, mode="tensor"):
        logits = self.network(inputs)
        return {"loss_ce": functional.cross_entropy(logits, labels)} if mode == "loss" else logits


def batch(size: int, side: int) -> dict[str, torch.Tensor]:
    return {"inputs": torch.rand(size, 3, side, side), "labels": torch.randint(0, 100, (size,))}


def kdhub_step(teacher_of: Callable[[Classifier], Teacher] = ModelTeacher) -> Step:
    torch.manual_seed(0)
    student, teacher = Classifier(resnet18(num_classes=100)), Classifier(resnet34(num_classes=100))
    model = Distiller(
        student,
        teacher=teacher_of(teacher),
        objectives={
            "logits": {
                "loss": {"type": "kdhub.TemperatureKL", "temperature": 4.0},
                "student": "network.fc",
                "teacher": "network.fc",
            },
            "feature": {"loss": {"type": "kdhub.MSE"}, "student": "network.layer3", "teacher": "network.layer3"},
        },
    ).train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    return lambda data: model.train_step(data, wrapper)["loss"].item()


def handwritten_step() -> Step:
    torch.manual_seed(0)
    student, teacher = resnet18(num_classes=100).train(), resnet34(num_classes=100).eval().requires_grad_(False)
    features: dict[str, torch.Tensor] = {}
    student.layer3.register_forward_hook(lambda _m, _i, output: features.__setitem__("student", output))
    teacher.layer3.register_forward_hook(lambda _m, _i, output: features.__setitem__("teacher", output))
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)

    def step(data: dict[str, torch.Tensor]) -> float:
        ours = student(data["inputs"])
        with torch.no_grad():
            theirs = teacher(data["inputs"])
        logits = functional.kl_div(
            (ours / 4).log_softmax(1), (theirs / 4).log_softmax(1), log_target=True, reduction="batchmean"
        )
        feature = functional.mse_loss(features["student"], features["teacher"])
        loss = functional.cross_entropy(ours, data["labels"]) + 16.0 * logits + feature
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


STEPS = {"kdhub": kdhub_step, "handwritten": handwritten_step}


def time_ratio(pairs: int, size: int, side: int) -> dict[str, float]:
    steps = {name: make() for name, make in STEPS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(pairs + WARM_UP):
        data, losses = batch(size, side), {}
        order = list(steps) if index % 2 else list(reversed(steps))
        for name in order:
            begin = time.perf_counter()
            losses[name] = steps[name](data)
            if index >= WARM_UP:
                seconds[name].append(time.perf_counter() - begin)
        if index < WARM_UP:
            require_equal(f"pair {index}", losses, "handwritten", {"kdhub": TOLERANCE})
    ratios = [ours / theirs for ours, theirs in zip(seconds["kdhub"], seconds["handwritten"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "kdhub_ms": 1e3 * statistics.median(seconds["kdhub"]),
        "handwritten_ms": 1e3 * statistics.median(seconds["handwritten"]),
        "ratio": statistics.median(ratios),
        "ratio_q1": quartiles[0],
        "ratio_q3": quartiles[2],
    }


def peak_kib(name: str, size: int, side: int) -> int:
    command = [sys.executable, __file__, "--peak-of", name, "--batch", str(size), "--side", str(side)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory_ratio(size: int, side: int, repeats: int = 3) -> dict[str, float]:
    peaks: dict[str, list[int]] = {name: [] for name in STEPS}
    for _ in range(repeats):
        for name in STEPS:
            peaks[name].append(peak_kib(name, size, side))
    medians = {name: statistics.median(values) for name, values in peaks.items()}
    return {
        **{f"{name}_mib": value / 1024 for name, value in medians.items()},
        "ratio": medians["kdhub"] / medians["handwritten"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="timed pairs of steps (default 40)")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--side", type=int, default=96, help="side of an image in pixels (default 96)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak-of", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    if args.peak_of:
        step = STEPS[args.peak_of]()
        for _ in range(5):
            step(batch(args.batch, args.side))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    result = {
        "threads": torch.get_num_threads(),
        "time": time_ratio(args.pairs, args.batch, args.side),
        "memory": memory_ratio(args.batch, args.side),
    }
    if args.json:
        print(json.dumps(result))
        return
    timing, memory = result["time"], result["memory"]
    print(f"time    {timing['ratio']:.3f}x  (quartiles {timing['ratio_q1']:.3f} to {timing['ratio_q3']:.3f};", end=" ")
    print(
        f"kdhub {timing['kdhub_ms']:.0f} ms, hand-written {timing['handwritten_ms']:.0f} ms, {result['threads']} threads)"
    )
    print(
        f"memory  {memory['ratio']:.3f}x  (peak RSS {memory['kdhub_mib']:.0f} and {memory['handwritten_mib']:.0f} MiB)"
    )


if __name__ == "__main__":
    main()
