"""kdcls against what one would write or take otherwise: losses against plain loops, a step against timm's task, DisWOT by the second.

``losses``: PLD and SinKD, forward and backward, against the formula as loops over samples, at 1000 classes; they must give the same
value. ``step``: ResNet-34 teaches ResNet-18 by temperature KL, both of timm, against ``timm.task.LogitDistillationTask``; their
losses must agree. Variants take turns, and the median of the ratios round by round is quoted with its quartiles. ``diswot``:
candidates that `kdcls.student_search.Scorer` builds and scores in a second at 32 px, a batch of 16.

Usage: python benchmarks/classification.py [losses step diswot] [--rounds 10] [--batch 16] [--side 64] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")

import timm  # noqa: E402
import torch  # noqa: E402
from losses import TOLERANCE, require_equal  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from timm.task import LogitDistillationTask  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from kdcls.cifar_nets import CifarResNet  # noqa: E402
from kdcls.losses.pld import PLD  # noqa: E402
from kdcls.losses.sinkd import SinKD  # noqa: E402
from kdcls.student_search import Candidate, Cost, Scorer  # noqa: E402
from kdhub.distill.distiller import Distiller  # noqa: E402
from kdhub.distill.teachers import ModelTeacher  # noqa: E402
from kdhub.models import TorchModel  # noqa: E402
from kdhub.registry import init  # noqa: E402

CLASSES = 1000
WARM_UP = 2
PARTS = ["losses", "step", "diswot"]
Found = dict[str, dict[str, Any]]
"""What was measured, by the name of the thing."""


def looped_pld(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    total = student.new_zeros(())
    for ours, theirs, label in zip(student, teacher, labels.tolist(), strict=True):
        others = [one for one in theirs.argsort(descending=True, stable=True).tolist() if one != label]
        order = [label, *others]
        weights = theirs.softmax(0)
        for rank, which in enumerate(order):
            total = total + weights[which] * (ours[order[rank:]].logsumexp(0) - ours[which])
    return total / len(student)


def looped_sinkd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    ours, theirs = ([(row / 2.0).softmax(0) for row in side] for side in (student, teacher))
    cost = torch.stack([torch.stack([(p - q).abs().sum() for q in theirs]) for p in ours])
    plan = (-cost / 0.1).exp()
    for _ in range(20):
        plan = torch.stack([row / row.sum() for row in plan])
        plan = torch.stack([column / column.sum() for column in plan.T]).T
    return (plan * cost).sum()


def in_turns(where: str, steps: dict[str, Callable[[], float]], rounds: int, tolerance: float) -> dict[str, Any]:
    """Run the variants in turns; return how much time the first takes of the second."""
    ours, theirs = steps
    ratios, seconds = [], {name: [] for name in steps}
    for index in range(rounds + WARM_UP):
        values, took = {}, {}
        for name in (ours, theirs) if index % 2 else (theirs, ours):
            begin = time.perf_counter()
            values[name] = steps[name]()
            took[name] = time.perf_counter() - begin
        if index < WARM_UP:
            require_equal(where, values, theirs, {ours: tolerance})
            continue
        ratios.append(took[ours] / took[theirs])
        for name in steps:
            seconds[name].append(took[name])
    low, middle, high = statistics.quantiles(ratios, n=4)
    told = {name: 1e3 * statistics.median(own) for name, own in seconds.items()}
    return {"ratio": middle, "quartiles": [low, high], "milliseconds": told}


def losses(rounds: int, batch: int) -> Found:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(batch, CLASSES, generator=generator) for _ in range(2))
    labels = torch.randint(0, CLASSES, (batch,), generator=generator)
    student.requires_grad_()

    def step(loss: Callable[..., Tensor], *more: Tensor) -> Callable[[], float]:
        def run() -> float:
            student.grad = None
            value = loss(student, teacher, *more)
            value.backward()
            return value.item()

        return run

    pld = {"kdhub": step(PLD(), labels), "loops": step(looped_pld, labels)}
    sinkd = {"kdhub": step(SinKD()), "loops": step(looped_sinkd, labels)}
    return {
        "PLD": in_turns("PLD", pld, min(rounds, 3), 1e-4),
        "SinKD": in_turns("SinKD", sinkd, rounds, 1e-4),
    }


def plain_step(rounds: int, batch: int, side: int) -> Found:
    def net(name: str, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=100)

    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "inputs": torch.randn(batch, 3, side, side, generator=generator),
            "labels": torch.randint(0, 100, (batch,), generator=generator),
        }
        for _ in range(rounds + WARM_UP)
    ]
    model = Distiller(
        TorchModel(net("resnet18", 0), criterion=nn.CrossEntropyLoss()),
        teacher=ModelTeacher(TorchModel(net("resnet34", 1)), own_weights=True),
        objectives={
            "logits": {"loss": {"type": "kdhub.TemperatureKL", "temperature": 4.0}, "student": "fc", "teacher": "fc"}
        },
    ).train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    task = LogitDistillationTask(
        net("resnet18", 0),
        net("resnet34", 1),
        criterion=nn.CrossEntropyLoss(),
        distill_loss_weight=1.0,
        task_loss_weight=1.0,
        temperature=4.0,
        verbose=False,
    ).train()
    optimizer = torch.optim.SGD(task.trainable_module.parameters(), lr=1e-3)
    places = {"kdhub": iter(batches), "timm": iter(batches)}

    def theirs() -> float:
        data = next(places["timm"])
        loss = task(data["inputs"], data["labels"])["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    ours = {"kdhub": lambda: model.train_step(next(places["kdhub"]), wrapper)["loss"].item(), "timm": theirs}
    return {"step": in_turns("step", ours, rounds, TOLERANCE)}


def diswot(rounds: int, batch: int) -> Found:
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 100, (batch,))
    widths = (16, 16, 32, 64)
    found: Found = {}
    for depth in (8, 20, 56):
        scorer = Scorer(
            lambda _candidate, d=depth: CifarResNet(d, widths), lambda: CifarResNet(56, widths), images, labels
        )
        candidate = Candidate((1,), (16,))
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            entry = scorer.entry(candidate, Cost(0, 0, None))
            seconds.append(time.perf_counter() - begin)
        found[f"DisWOT, ResNet-{depth}"] = {"per_second": 1 / statistics.median(seconds), "score": entry.total}
    return found


def in_words(measured: dict[str, Any]) -> str:
    if "per_second" in measured:
        return f"{measured['per_second']:.1f} a second; score {measured['score']:.4f}"
    low, high = measured["quartiles"]
    told = ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in measured["milliseconds"].items())
    return f"{measured['ratio']:.3f}x ({low:.3f} to {high:.3f}); {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {PARTS}; default all")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds (default 10)")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--side", type=int, default=64, help="side of an image of the step (default 64)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"no such part: {unknown}; there are {PARTS}")
    torch.set_num_threads(args.threads)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    init()
    measures = {
        "losses": lambda: losses(args.rounds, args.batch),
        "step": lambda: plain_step(args.rounds, args.batch, args.side),
        "diswot": lambda: diswot(args.rounds, args.batch),
    }
    found: Found = {}
    for part in args.parts or PARTS:
        for where, measured in measures[part]().items():
            found[where] = measured
            if not args.json:
                print(f"{where}: {in_words(measured)}", flush=True)
    if args.json:
        print(json.dumps({"threads": args.threads, "rounds": args.rounds, "measured": found}))


if __name__ == "__main__":
    main()
