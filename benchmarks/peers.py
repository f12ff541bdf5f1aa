"""A whole training step of kdhub against torchdistill and a hand-written loop: the same teacher, student, losses, batches.

ResNet-34 teaches ResNet-18: cross-entropy, temperature KL on logits and MSE on one feature map. In each round every
variant takes one step on one batch, in an order that rotates; the median and the quartiles of the ratios round by round are
quoted. Each step ends with the value of its loss, and the benchmark stops if those of the float32 variants differ in the
rounds before the timed ones; later, rounding alone drives trainings apart, and the deviation is printed.

Batches are drawn from a set of images, so that a teacher store can answer: it is filled before, in float32, and read in the
timed steps. The first time that a record is read, its checksum is too: with the defaults that falls into the first 4 of 40
timed rounds. The bytes come from the page cache of the system, as they do in a training whose store fits in memory.

Usage: pip install '.[bench]' and python benchmarks/peers.py [--rounds 40] [--batch 8] [--side 224] [--images 64] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from filling import stored  # noqa: E402
from losses import TOLERANCE, deviation, require_equal  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from step import Classifier, Step, batch, handwritten_step, kdhub_step  # noqa: E402
from torchdistill_step import torchdistill_step  # noqa: E402

from kdhub.distill.precision import BATCHES  # noqa: E402
from kdhub.distill.preprocess import SAMPLE_KEYS  # noqa: E402
from kdhub.distill.taps import ModuleOutput  # noqa: E402
from kdhub.distill.teachers import ModelTeacher, Teacher  # noqa: E402
from kdhub.engine.sampling import SampleKey  # noqa: E402

Batch = dict[str, Any]

WARM_UP = BATCHES + 1
"""Rounds that are not timed: allocations, and a teacher in half precision is measured on its first batches."""


def variants(images: Batch, size: int, folder: Path) -> dict[str, Step]:
    """Build all variants, the store from a copy of the teacher and in a folder of its own."""

    def from_store(teacher: Classifier) -> Teacher:
        taps = [ModuleOutput("network.fc"), ModuleOutput("network.layer3")]
        count = len(images["labels"])
        return stored(ModelTeacher(teacher), taps, one_pass(images, torch.arange(count), size), count, folder)

    return {
        "hand-written": handwritten_step(),
        "torchdistill": torchdistill_step(),
        "kdhub": kdhub_step(),
        "kdhub, store": kdhub_step(from_store),
        "kdhub, bf16 teacher": kdhub_step(partial(ModelTeacher, precision="bfloat16")),
    }


def one_pass(images: Batch, order: torch.Tensor, size: int) -> Iterator[Batch]:
    """Give batches of images with their keys, as a data loader of kdhub does."""
    for chosen in order.split(size):
        keys = [SampleKey(index, 0) for index in chosen.tolist()]
        yield {**{name: value[chosen] for name, value in images.items()}, SAMPLE_KEYS: keys}


def passes(images: Batch, size: int) -> Iterator[Batch]:
    """Give batches without end, each pass over the images in another order."""
    while True:
        yield from one_pass(images, torch.randperm(len(images["labels"])), size)


EXACT = dict.fromkeys(("hand-written", "torchdistill", "kdhub", "kdhub, store"), TOLERANCE)


def measure(rounds: int, size: int, side: int, count: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Run all variants side by side; return seconds and losses, step by step, of each."""
    torch.manual_seed(1)
    images = batch(count, side)
    steps = variants(images, size, folder)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    torch.manual_seed(1)
    for index, data in zip(range(rounds + WARM_UP), passes(images, size), strict=False):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            begin = time.perf_counter()
            loss = steps[name](data)
            if index >= WARM_UP:
                seconds[name].append(time.perf_counter() - begin)
            losses[name].append(loss)
        if index < WARM_UP:
            require_equal(f"round {index}", {name: losses[name][-1] for name in EXACT}, "hand-written", EXACT)
    return {"seconds": seconds, "losses": losses}


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    return {"median": median, "q1": low, "q3": high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each variant (default 40)")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (default 8)")
    parser.add_argument("--side", type=int, default=224, help="side of an image in pixels (default 224)")
    parser.add_argument("--images", type=int, default=64, help="images that batches are drawn from (default 64)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.images % args.batch:
        parser.error("--images must be a multiple of --batch")
    MMLogger.get_instance("mmengine", log_level="ERROR")
    logging.getLogger("torchdistill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        found = measure(args.rounds, args.batch, args.side, args.images, Path(place))
    seconds, losses = found["seconds"], found["losses"]
    result = {
        name: {
            "ms": 1e3 * statistics.median(seconds[name]),
            "to_torchdistill": ratio(seconds[name], seconds["torchdistill"]),
            "to_handwritten": ratio(seconds[name], seconds["hand-written"]),
            "loss_deviation": max(map(deviation, losses[name], losses["hand-written"])),
        }
        for name in seconds
    }
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rounds": args.rounds, "variants": result}))
        return
    print(f"batch {args.batch} at {args.side} px, {args.rounds} rounds, {torch.get_num_threads()} threads")
    for name, one in result.items():
        peer, loop = one["to_torchdistill"], one["to_handwritten"]
        print(
            f"{name:20} {one['ms']:6.0f} ms  {peer['median']:.3f}x torchdistill ({peer['q1']:.3f} to {peer['q3']:.3f})"
            f"  {loop['median']:.3f}x hand-written ({loop['q1']:.3f} to {loop['q3']:.3f})"
            f"  losses within {one['loss_deviation']:.1e}"
        )


if __name__ == "__main__":
    main()
