"""BPKD's loss, forward and backward, against a plain loop over classes and against channel-wise distillation alone.

Three questions, each a pair of functions timed A, B, B, A, ... in one run; quoted is the median of the ratios pair by pair:

* ``loop``: 150 classes, 64x64 maps from 512x512 labels, masks included, against one-hot, dilation, erosion, pooling and
  loss class by class. Peak memory beside it: what each adds to a process of its own that already holds the inputs. Once for
  labels in blobs and once for labels that differ from pixel to pixel, the worst case.
* ``cwd``: 19 classes, 512x1024 labels, maps of stride 8 and 4, against ChannelWiseKD without labels. Once with the masks that
  another objective of the step has made already, and once making them.

Usage: python benchmarks/segmentation_losses.py [--pairs 20] [--threads 1] [--json]        (memory: Linux only)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from kdseg.losses.bpkd import BPKDLoss  # noqa: E402
from kdseg.losses.channel_wise import ChannelWiseKD  # noqa: E402

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
MANY_CLASSES = (150, (64, 64), (512, 512))


def batch(
    classes: int, size: tuple[int, int], full: tuple[int, int], content: str = "blobs"
) -> tuple[Tensor, Tensor, Tensor]:
    """Student logits, teacher logits and labels of 2 images: 48 blobs with a little void, or noise."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, classes, *size, generator=generator) for _ in range(2))
    if content == "noise":
        return student.requires_grad_(), teacher, torch.randint(0, classes, (2, *full), generator=generator)
    labels = torch.empty(2, *full, dtype=torch.int64)
    rows, columns = torch.arange(full[0])[:, None], torch.arange(full[1])
    for image in labels:
        nearest = torch.full(full, torch.inf)
        for y, x in torch.rand(48, 2, generator=generator).tolist():
            distance = (rows - y * full[0]) ** 2.0 + (columns - x * full[1]) ** 2.0
            closer = distance < nearest
            nearest[closer] = distance[closer]
            image[closer] = int(torch.randint(0, classes, (), generator=generator))
    labels[:, : full[0] // 20] = 255
    return student.requires_grad_(), teacher, labels


def bpkd() -> Loss:
    loss = BPKDLoss()
    return lambda student, teacher, labels: torch.stack(list(loss(student, teacher, labels).values())).sum()


def bpkd_making_masks() -> Loss:
    loss = bpkd()
    # another tensor object is another batch to the memory of masks
    return lambda student, teacher, labels: loss(student, teacher, labels.view_as(labels))


def cwd() -> Loss:
    loss = ChannelWiseKD()
    return lambda student, teacher, labels: loss(student, teacher)


def class_loop() -> Loss:
    """The method as one would write it down: one class after the other."""

    def dilate(values: Tensor) -> Tensor:
        return functional.max_pool2d(values, 7, 1, 3)

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        images, classes, *size = student.shape
        valid = (labels != 255).float()[:, None]
        keep = 1 - dilate(1 - valid)
        whole = functional.adaptive_avg_pool2d(valid, size) == 1
        masks = []
        for index in range(classes):
            one_hot = (labels == index).float()[:, None]
            edge = (dilate(one_hot) - (1 - dilate(1 - one_hot))) * keep
            masks.append(functional.adaptive_avg_pool2d(edge, size) * whole)
        mask = torch.cat(masks, 1)
        p, q = (torch.log_softmax(logits * mask, 1) for logits in (teacher, student))
        phi = functional.kl_div(q, p, reduction="none", log_target=True).sum(1)
        total = torch.zeros(())
        for index in range(classes):
            share = mask[:, index]
            count = (share > 0).sum((1, 2)).clamp(min=1)
            total = total + 50 * (2.0 / count * (phi * share).sum((1, 2))).sum() / images
            p, q = (
                torch.log_softmax((logits[:, index] * (1 - share)).masked_fill(~whole[:, 0], -1e30).flatten(1), -1)
                for logits in (teacher, student)
            )
            total = total + 20 * functional.kl_div(q, p, reduction="sum", log_target=True) / (images * classes)
        return total

    return loss


def step(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> float:
    student.grad = None
    value = loss(student, teacher, labels)
    value.backward()
    return float(value.detach())


def time_ratio(ours: Loss, other: Loss, inputs: tuple[Tensor, Tensor, Tensor], pairs: int) -> dict[str, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    warm_up = 1 if pairs < 10 else 5
    for index in range(pairs + warm_up):
        for which in (0, 1) if index % 2 else (1, 0):
            begin = time.perf_counter()
            step((ours, other)[which], *inputs)
            if index >= warm_up:
                seconds[which].append(time.perf_counter() - begin)
    ratios = [one / two for one, two in zip(*seconds, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    ours_ms, other_ms = (1e3 * statistics.median(values) for values in seconds)
    return {"ours_ms": ours_ms, "other_ms": other_ms, "ratio": middle, "ratio_q1": low, "ratio_q3": high}


LOSSES = {"bpkd": bpkd_making_masks, "loop": class_loop}


def added_mib(name: str) -> float:
    """Peak of a process while it computes one loss, above what it holds before."""
    command = [sys.executable, __file__, "--peak-of", name]
    # every tensor a mapping of its own, given back when it dies: else memory freed earlier hides part of the peak
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    return float(
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()[-1]
    )


def print_peak(name: str) -> None:
    loss = LOSSES[name]()
    inputs = batch(*MANY_CLASSES)
    step(loss, *batch(3, (4, 4), (32, 32)))
    inputs[0].grad = torch.zeros_like(inputs[0])
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    loss(*inputs).backward()
    print((_status("VmHWM") - before) / 1024)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(pairs: int) -> dict[str, dict[str, float]]:
    # a training step frees tensors of this size all the time, after which malloc no longer returns small ones to the system
    torch.ones(7 << 20).sum()
    results = {}
    for content in ("blobs", "noise"):
        inputs = batch(*MANY_CLASSES, content)
        ours, other = bpkd_making_masks(), class_loop()
        values = step(ours, *inputs), step(other, *inputs)
        if abs(values[0] - values[1]) > 1e-3 * abs(values[1]):
            raise SystemExit(f"the two do not compute the same: {values}")
        results[f"loop, {content}"] = time_ratio(ours, other, inputs, max(3, pairs // 5))
    for size in ((64, 128), (128, 256)):
        inputs = batch(19, size, (512, 1024))
        for name, ours in (("masks at hand", bpkd()), ("masks made", bpkd_making_masks())):
            results[f"cwd, {size[0]}x{size[1]}, {name}"] = time_ratio(ours, cwd(), inputs, pairs)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, default=20, help="timed pairs against CWD; a fifth against the loop (default 20)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak-of", choices=LOSSES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print_peak(args.peak_of)
        return
    times = measure(args.pairs)
    memory = {name: statistics.median(added_mib(name) for _ in range(3)) for name in LOSSES}
    if args.json:
        print(json.dumps({"threads": args.threads, "time": times, "added_mib": memory}))
        return
    print("| BPKD against | BPKD | other | ratio | quartiles |\n|---|---|---|---|---|")
    for name, row in times.items():
        print(f"| {name} | {row['ours_ms']:.1f} ms | {row['other_ms']:.1f} ms", end=" | ")
        print(f"{row['ratio']:.3g}x | {row['ratio_q1']:.3g} to {row['ratio_q3']:.3g} |")
    ratio = memory["bpkd"] / memory["loop"]
    print(f"| loop, added peak memory | {memory['bpkd']:.0f} MiB | {memory['loop']:.0f} MiB | {ratio:.2f}x | |")


if __name__ == "__main__":
    main()
