"""A whole training step of kdhub against torchdistill and a hand-written loop: the same teacher, student, losses, batches.

ResNet-34 teaches ResNet-18: cross-entropy, temperature KL on logits and MSE on one feature map. In each round every
variant takes one step on one batch, in an order that rotates; the median and the quartiles of the ratios round by round are
quoted. Each step ends with the value of its loss, and the benchmark stops if those of the float32 variants differ in the
rounds before the timed ones; later, rounding alone drives trainings apart, and the deviation is printed.

Usage: pip install '.[bench]' and python benchmarks/peers.py [--rounds 40] [--batch 8] [--side 224] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from step import batch, handwritten_step, kdhub_step  # noqa: E402
from torchvision.models import resnet18, resnet34  # noqa: E402

from kdhub.distill.precision import BATCHES  # noqa: E402
from kdhub.distill.teachers import ModelTeacher  # noqa: E402

try:
    from torchdistill.core.distillation import DistillationBox
except ImportError as error:
    sys.exit(f"{error}: pip install '.[bench]'")

Step = Callable[[dict[str, torch.Tensor]], float]

WARM_UP = BATCHES + 1
"""Rounds that are not timed: allocations, and a teacher in half precision is measured on its first batches."""

TOLERANCE = 1e-5
"""Relative difference of two float32 losses in the first steps, where sums are taken in another order."""


def handwritten() -> Step:
    step = handwritten_step()
    return lambda data: sum(step(data).values())


def kdhub(precision: str = "float32") -> Step:
    step = kdhub_step(partial(ModelTeacher, precision=precision))
    return lambda data: step(data)["loss"].item()


def torchdistill() -> Step:
    torch.manual_seed(0)
    student, teacher = resnet18(num_classes=100), resnet34(num_classes=100).eval()
    logits = {"student_module_path": "fc", "student_module_io": "output"}
    logits |= {"teacher_module_path": "fc", "teacher_module_io": "output"}
    output = {"is_from_teacher": False, "io": "output"}
    terms = {
        "ce": {
            "criterion": {"key": "CrossEntropyLoss", "kwargs": {}},
            "criterion_wrapper": {
                "key": "SimpleLossWrapper",
                "kwargs": {"input": {**output, "module_path": "fc"}, "target": {"uses_label": True}},
            },
            "weight": 1.0,
        },
        # without alpha it is the divergence alone, and the factor temperature² is the weight's
        "logits": {
            "criterion": {"key": "KDLoss", "kwargs": {**logits, "temperature": 4.0, "beta": 1.0}},
            "weight": 16.0,
        },
        "feature": {
            "criterion": {"key": "MSELoss", "kwargs": {}},
            "criterion_wrapper": {
                "key": "SimpleLossWrapper",
                "kwargs": {
                    "input": {**output, "module_path": "layer3"},
                    "target": {"is_from_teacher": True, "module_path": "layer3", "io": "output"},
                },
            },
            "weight": 1.0,
        },
    }
    hooks = {"forward_hook": {"output": ["layer3", "fc"]}, "forward_proc": "forward_batch_only"}
    config = {
        "num_epochs": 1,
        "teacher": {**hooks, "requires_grad": False},
        "student": hooks,
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
        "optimizer": {"key": "SGD", "kwargs": {"lr": 1e-3}},
    }
    box = DistillationBox(
        teacher, student, {}, config, torch.device("cpu"), device_ids=None, distributed=False, lr_factor=1
    )
    box.pre_epoch_process()

    def step(data: dict[str, torch.Tensor]) -> float:
        loss = box.forward_process(data["inputs"], data["labels"], {})
        box.post_forward_process(loss)
        return loss.item()

    return step


EXACT = {"hand-written": handwritten, "torchdistill": torchdistill, "kdhub": kdhub}
VARIANTS = {**EXACT, "kdhub, bf16 teacher": partial(kdhub, "bfloat16")}


def measure(rounds: int, size: int, side: int) -> dict[str, dict[str, list[float]]]:
    """Run all variants side by side; return seconds and losses, step by step, of each."""
    steps = {name: make() for name, make in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    torch.manual_seed(1)
    for index in range(rounds + WARM_UP):
        data = batch(size, side)
        first = index % len(names)
        for name in names[first:] + names[:first]:
            begin = time.perf_counter()
            loss = steps[name](data)
            if index >= WARM_UP:
                seconds[name].append(time.perf_counter() - begin)
            losses[name].append(loss)
        if index < WARM_UP:
            require_equal({name: losses[name][-1] for name in EXACT}, index)
    return {"seconds": seconds, "losses": losses}


def require_equal(losses: dict[str, float], index: int) -> None:
    """Stop if the variants do not train the same thing: then their times say nothing about each other."""
    if deviation(list(losses.values()), [losses["hand-written"]] * len(losses)) > TOLERANCE:
        sys.exit(f"round {index}: the losses differ: {losses}")


def deviation(ours: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    return {"median": median, "q1": low, "q3": high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each variant (default 40)")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (default 8)")
    parser.add_argument("--side", type=int, default=224, help="side of an image in pixels (default 224)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    MMLogger.get_instance("mmengine", log_level="ERROR")
    logging.getLogger("torchdistill").setLevel(logging.ERROR)
    found = measure(args.rounds, args.batch, args.side)
    seconds, losses = found["seconds"], found["losses"]
    result = {
        name: {
            "ms": 1e3 * statistics.median(seconds[name]),
            "to_torchdistill": ratio(seconds[name], seconds["torchdistill"]),
            "to_handwritten": ratio(seconds[name], seconds["hand-written"]),
            "loss_deviation": deviation(losses[name], losses["hand-written"]),
        }
        for name in VARIANTS
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
