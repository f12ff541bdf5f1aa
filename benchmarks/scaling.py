"""Time and peak memory of a Distiller step against batch size and number of objectives, as a table.

ResNet-34 teaches ResNet-18 at 96 px. Zero objectives is the student alone (no teacher runs); each further objective is an
MSE on one more feature map, the last ones on logits. Each cell runs in a process of its own; cells are visited in
rounds, and the median of the rounds is printed.

Usage: python benchmarks/scaling.py [--batches 8 16 32] [--objectives 0 1 2 4] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from step import Classifier, batch
from torchvision.models import resnet18, resnet34

from kdhub.distill.distiller import Distiller
from kdhub.distill.teachers import ModelTeacher

TAPS = ("network.layer3", "network.layer4", "network.layer2", "network.fc")
STEPS = 6


def measure(objectives: int, size: int) -> dict[str, float]:
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    torch.manual_seed(0)
    teacher = {"teacher": ModelTeacher(Classifier(resnet34(num_classes=100)))} if objectives else {}
    model = Distiller(
        Classifier(resnet18(num_classes=100)),
        objectives={
            f"objective{index}": {"loss": {"type": "kdhub.MSE"}, "student": tap, "teacher": tap}
            for index, tap in enumerate(TAPS[:objectives])
        },
        **teacher,
    ).train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    seconds = []
    for _ in range(STEPS):
        data = batch(size, 96)
        begin = time.perf_counter()
        model.train_step(data, wrapper)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": 1e3 * statistics.median(seconds[1:]), "mib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--objectives", type=int, nargs="+", default=[0, 1, 2, 4], help=f"at most {len(TAPS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--cell", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(json.dumps(measure(*args.cell)))
        return
    cells = [(objectives, size) for size in args.batches for objectives in args.objectives]
    found: dict[tuple[int, int], list[dict[str, float]]] = {cell: [] for cell in cells}
    for _ in range(args.rounds):
        for cell in cells:
            command = [sys.executable, __file__, "--cell", *map(str, cell)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[cell].append(json.loads(done.stdout.splitlines()[-1]))
    table = [
        {"objectives": objectives, "batch": size}
        | {key: statistics.median(run[key] for run in found[objectives, size]) for key in ("ms", "mib")}
        for objectives, size in cells
    ]
    if args.json:
        print(json.dumps(table))
        return
    print("| batch | objectives | ms a step | against none | peak RSS, MiB |\n|---|---|---|---|---|")
    for row in table:
        none = next(
            (other["ms"] for other in table if other["batch"] == row["batch"] and not other["objectives"]), row["ms"]
        )
        print(
            f"| {row['batch']} | {row['objectives']} | {row['ms']:.0f} | {row['ms'] / none:.2f}x | {row['mib']:.0f} |"
        )


if __name__ == "__main__":
    main()
