"""A whole training step of kdhub against torchdistill and a hand-written loop: the same teacher, student, losses, batches.

ResNet-34 teaches ResNet-18: cross-entropy, temperature KL on logits and MSE on one feature map. In each round every
variant takes one step on one batch, in random order, and the median of the ratios round by round counts. Where a
process happens to place weights in memory is worth some per cent of a step to one variant or another, for as long as the process
lives. So there are several processes, in each of which another variant is built first; their median is quoted, and their
range, or from ten processes on a 95 % interval by bootstrap.
Each step ends with the value of its loss, and the benchmark stops if those of the float32 variants differ in the
rounds before the timed ones; later, rounding alone drives trainings apart, and the deviation is printed.

Batches are drawn from a set of images, so that a teacher store can answer: it is filled before, in float32, and read in the
timed steps. The first time that a record is read, its checksum is too: with the defaults that falls into the first 4 of 20
timed rounds. The bytes come from the page cache of the system, as they do in a training whose store fits in memory.

Usage: pip install '.[bench]' and python benchmarks/peers.py [--processes 5] [--rounds 20] [--batch 8] [--side 224]
[--images 64] [--only kdhub] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from figures import median_ms, told, with_spread  # noqa: E402
from filling import stored  # noqa: E402
from losses import TOLERANCE, deviation, require_equal  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from step import Classifier, Step, batch, handwritten_step, kdhub_step  # noqa: E402
from torchdistill_step import torchdistill_step  # noqa: E402

from kdhub.distill.precision import BATCHES  # noqa: E402
from kdhub.distill.preprocess import SAMPLE_KEYS  # noqa: E402
from kdhub.distill.taps import ModuleOutput  # noqa: E402
from kdhub.distill.teachers import ModelTeacher, Teacher  # noqa: E402
from kdhub.engine.resume.sampling import SampleKey  # noqa: E402

Batch = dict[str, Any]

WARM_UP = BATCHES + 1
"""Rounds that are not timed: allocations, and a teacher in half precision is measured on its first batches."""


def variants(images: Batch, size: int, folder: Path, first: int, chosen: Collection[str]) -> dict[str, Step]:
    """Build some variants, beginning with one of them; the store from a copy of the teacher and in a folder of its own."""

    def from_store(teacher: Classifier) -> Teacher:
        taps = [ModuleOutput("network.fc"), ModuleOutput("network.layer3")]
        count = len(images["labels"])
        return stored(ModelTeacher(teacher), taps, one_pass(images, torch.arange(count), size), count, folder)

    builders: dict[str, Callable[[], Step]] = {
        "hand-written": handwritten_step,
        "torchdistill": torchdistill_step,
        "kdhub": kdhub_step,
        "kdhub, store": partial(kdhub_step, from_store),
        "kdhub, bf16 teacher": partial(kdhub_step, partial(ModelTeacher, precision="bfloat16")),
    }
    names = [name for name in builders if name in chosen]
    first %= len(names)
    steps = {name: builders[name]() for name in names[first:] + names[:first]}
    return {name: steps[name] for name in names}


def one_pass(images: Batch, order: torch.Tensor, size: int) -> Iterator[Batch]:
    """Give batches of images with their keys, as a data loader of kdhub does."""
    for chosen in order.split(size):
        keys = [SampleKey(index, 0) for index in chosen.tolist()]
        yield {**{name: value[chosen] for name, value in images.items()}, SAMPLE_KEYS: keys}


def passes(images: Batch, size: int) -> Iterator[Batch]:
    """Give batches without end, each pass over the images in another order."""
    while True:
        yield from one_pass(images, torch.randperm(len(images["labels"])), size)


OTHERS = ("torchdistill", "hand-written")
"""What all variants are compared with."""

OURS = ("kdhub", "kdhub, store", "kdhub, bf16 teacher")
"""What is compared with them."""

EXACT = dict.fromkeys((*OTHERS, "kdhub", "kdhub, store"), TOLERANCE)


def measure(
    rounds: int, size: int, side: int, count: int, folder: Path, first: int, chosen: Collection[str]
) -> dict[str, dict[str, list[float]]]:
    """Run variants side by side; return seconds and losses, step by step, of each."""
    torch.manual_seed(1)
    images = batch(count, side)
    steps = variants(images, size, folder, first, chosen)
    exact = {name: limit for name, limit in EXACT.items() if name in steps}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    names, chance = list(steps), random.Random(first)
    torch.manual_seed(1)
    for index, data in zip(range(rounds + WARM_UP), passes(images, size), strict=False):
        for name in chance.sample(names, len(names)):
            begin = time.perf_counter()
            loss = steps[name](data)
            if index >= WARM_UP:
                seconds[name].append(time.perf_counter() - begin)
            losses[name].append(loss)
        if index < WARM_UP:
            require_equal(f"round {index}", {name: losses[name][-1] for name in exact}, "hand-written", exact)
    return {"seconds": seconds, "losses": losses}


def in_this_process(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return each variant's time, what it is to torchdistill's and to the loop's, and how far its losses are off."""
    with tempfile.TemporaryDirectory() as place:
        found = measure(args.rounds, args.batch, args.side, args.images, Path(place), args.first, (*OTHERS, *args.only))
    seconds, losses = found["seconds"], found["losses"]
    return {
        name: {
            "ms": median_ms(seconds[name]),
            **{other: ratio(seconds[name], seconds[other]) for other in OTHERS},
            "loss_deviation": max(map(deviation, losses[name], losses["hand-written"])),
        }
        for name in seconds
    }


def in_fresh_processes(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Do that several times, and return medians with their spread."""
    options = [f"--{name}={getattr(args, name)}" for name in ("rounds", "batch", "side", "images")]
    options += ["--only", *args.only]
    runs = []
    for first in range(args.processes):
        command = [sys.executable, __file__, *options, f"--first={first}"]
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]))
    return {
        name: {
            "ms": statistics.median(run[name]["ms"] for run in runs),
            **{other: with_spread([run[name][other] for run in runs], statistics.median) for other in OTHERS},
            "loss_deviation": max(run[name]["loss_deviation"] for run in runs),
        }
        for name in runs[0]
    }


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=5, help="how often all is measured (default 5)")
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each variant in a process (default 20)")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (default 8)")
    parser.add_argument("--side", type=int, default=224, help="side of an image in pixels (default 224)")
    parser.add_argument("--images", type=int, default=64, help="images that batches are drawn from (default 64)")
    parser.add_argument("--only", nargs="+", choices=OURS, default=OURS, help="variants to compare (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.images % args.batch:
        parser.error("--images must be a multiple of --batch")
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    logging.getLogger("torchdistill").setLevel(logging.ERROR)
    if args.first is not None:
        print(json.dumps(in_this_process(args)))
        return
    result = in_fresh_processes(args)
    facts = {"threads": torch.get_num_threads(), "processes": args.processes, "rounds": args.rounds}
    if args.json:
        print(json.dumps({**facts, "variants": result}))
        return
    print(f"batch {args.batch} at {args.side} px,", ", ".join(f"{count} {name}" for name, count in facts.items()))
    for name, one in result.items():
        ratios = "  ".join(f"to {other} {told(one[other], '.3f')}" for other in OTHERS)
        print(f"{name:20} {one['ms']:6.0f} ms  {ratios}  losses within {one['loss_deviation']:.1e}")


if __name__ == "__main__":
    main()
