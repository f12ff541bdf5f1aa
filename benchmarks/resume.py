"""What being able to resume exactly adds to a checkpoint interval of 500 steps, against mmengine's Runner.

ResNet-18 with SGD and momentum, by mmengine's Runner, loop, data loader and CheckpointHook, and by kdhub's: keyed samples, a
loader that can be entered anywhere, the state of resuming in the checkpoint, the file synchronised and renamed, its SHA-256 and
the ledger. No other hook of kdhub runs. In a whole interval of real steps 1 % would drown in noise. So the two intervals,
500 iterations and one checkpoint each, are run without the computing, which is the same in both: the first steps are real ones, in
the others the model only notes the time. The two take turns.

Quoted is ``(kdhub - mmengine) / (500 real iterations of mmengine's + its checkpoint)``, from the medians of differences and times
round by round, with a 95 % interval by bootstrap over the rounds (below ten of them, the range of the single ones); also what iterations and what the checkpoint add to it. Against
kdhub: data are loaded in the training process, where nothing hides keying them; mmengine's checkpoint may still be on its way
to the disk of ``--folder`` when its time is taken, kdhub's is there. The benchmark stops if the two do not see the same batches,
if their checkpoints differ, or if kdhub's cannot be resumed from.

Usage: python benchmarks/resume.py [--rounds 10] [--batch 32] [--side 64] [--folder /tmp] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from figures import told, with_spread  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from step import Classifier  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402
from torchvision.models import resnet18  # noqa: E402

import kdhub  # noqa: E402
from kdhub.checkpoint import read_checkpoint  # noqa: E402
from kdhub.engine.resume.replay import same  # noqa: E402
from kdhub.engine.resume.state import KEY  # noqa: E402
from kdhub.engine.runner import KdhubRunner  # noqa: E402
from kdhub.engine.workdir.integrity import Ledger  # noqa: E402

INTERVAL = 500
"""Iterations to a checkpoint."""
REAL_STEPS = 6
"""Steps that are real ones; the first is not timed."""
HOOKS: dict[type[Runner], dict[str, dict[str, Any]]] = {
    Runner: {"checkpoint": {"type": "CheckpointHook"}},
    KdhubRunner: {"checkpoint": {"type": "kdhub.CheckpointHook"}, "integrity": {"type": "kdhub.IntegrityHook"}},
}


class Images(Dataset):
    """Images in memory, each with its number as label."""

    def __init__(self, count: int, side: int) -> None:
        self.images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self.images[index], "labels": index}


class Idle(Classifier):
    """Trains in the first steps only; notes when each step ended and which samples it was given."""

    def __init__(self, classes: int) -> None:
        torch.manual_seed(0)
        super().__init__(resnet18(num_classes=classes))
        self.ends: list[float] = []
        self.seen: list[torch.Tensor] = []

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        if len(self.ends) < REAL_STEPS:
            super().train_step(data, optim_wrapper)
        self.seen.append(data["labels"])
        self.ends.append(time.perf_counter())
        return {"loss": torch.zeros(())}


class Interval(NamedTuple):
    """Seconds of 500 iterations without computing, of the checkpoint at their end, and of one real iteration."""

    iterations: float
    checkpoint: float
    real: float


class Round(NamedTuple):
    """What is measured in turn."""

    mmengine: Interval
    kdhub: Interval


def run(kind: type[Runner], images: Images, batch: int, work_dir: Path) -> tuple[Interval, Idle]:
    model = Idle(len(images))
    hooks = {name: dict(hook) for name, hook in HOOKS[kind].items()}
    hooks["checkpoint"] |= {"interval": INTERVAL, "by_epoch": False, "save_last": False}
    runner = kind(
        model=model,
        work_dir=str(work_dir),
        train_dataloader={
            "batch_size": batch,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler", "shuffle": True, "seed": 0},
            "collate_fn": {"type": "default_collate"},
            "dataset": images,
        },
        train_cfg={"type": "IterBasedTrainLoop", "max_iters": INTERVAL + 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 1e-3, "momentum": 0.9}},
        default_hooks=hooks,
        randomness={"seed": 0},
        log_level="ERROR",
        experiment_name=str(work_dir),  # by which mmengine keeps apart what runs of one process log
    )
    os.sync()  # what was left to be written is not this one's
    runner.train()
    ends = model.ends
    idle = (ends[INTERVAL - 1] - ends[REAL_STEPS - 1]) / (INTERVAL - REAL_STEPS)
    real = statistics.median(after - before for before, after in pairwise(ends[:REAL_STEPS]))
    return Interval(INTERVAL * idle, ends[INTERVAL] - ends[INTERVAL - 1] - idle, real), model


def require_equal(folders: Sequence[Path], models: Sequence[Idle]) -> None:
    """Stop if the two did not train the same thing, or the second cannot be resumed."""
    if not all(map(torch.equal, *(model.seen for model in models))):
        sys.exit("the two saw other batches")
    plain, exact = (read_checkpoint(folder / f"iter_{INTERVAL}.pth") for folder in folders)
    if not all(same(dict(plain[part]), dict(exact[part])) for part in ("state_dict", "optimizer")):
        sys.exit("the two checkpoints differ")
    if KEY not in exact or len(Ledger.read(folders[1]).resumable()) != 1:
        sys.exit("the checkpoint cannot be resumed from")


def measure(rounds: int, batch: int, side: int, folder: str | None) -> list[Round]:
    images = Images(16 * batch, side)
    found = []
    for index in range(rounds + 1):  # the first is not timed
        with tempfile.TemporaryDirectory(dir=folder) as place:
            places = {kind: Path(place, kind.__name__) for kind in HOOKS}
            turns = list(HOOKS) if index % 2 else list(reversed(HOOKS))
            runs = {kind: run(kind, images, batch, places[kind]) for kind in turns}
            if index == 0:
                require_equal([places[Runner], places[KdhubRunner]], [runs[Runner][1], runs[KdhubRunner][1]])
        found.append(Round(runs[Runner][0], runs[KdhubRunner][0]))
    return found[1:]


def both(interval: Interval) -> float:
    return interval.iterations + interval.checkpoint


def added(rounds: Sequence[Round], part: Callable[[Interval], float] = both) -> float:
    """Return the part of an interval of mmengine's that kdhub adds."""
    difference = statistics.median(part(one.kdhub) - part(one.mmengine) for one in rounds)
    return difference / statistics.median(INTERVAL * one.mmengine.real + one.mmengine.checkpoint for one in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="timed intervals of each (default 10)")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch (default 32)")
    parser.add_argument("--side", type=int, default=64, help="side of an image in pixels (default 64)")
    parser.add_argument("--folder", help="where to write, for its disk (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    kdhub.init()
    rounds = measure(args.rounds, args.batch, args.side, args.folder)
    ms = {"real iteration": 1e3 * statistics.median(one.mmengine.real for one in rounds)}
    shares = {"interval": with_spread(rounds, added)}
    for part, count in (("iterations", INTERVAL), ("checkpoint", 1)):
        shares[part] = with_spread(rounds, lambda some, part=part: added(some, attrgetter(part)))
        for side in ("mmengine", "kdhub"):
            seconds = statistics.median(attrgetter(f"{side}.{part}")(one) for one in rounds)
            ms[f"{part}, {side}"] = 1e3 * seconds / count
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rounds": args.rounds, "added": shares, "ms": ms}))
        return
    print(f"{args.rounds} rounds, {torch.get_num_threads()} threads; a real iteration {ms['real iteration']:.1f} ms")
    print(f"an iteration  {ms['iterations, mmengine']:.3f} ms by mmengine, {ms['iterations, kdhub']:.3f} ms by kdhub")
    print(f"a checkpoint  {ms['checkpoint, mmengine']:.1f} ms by mmengine, {ms['checkpoint, kdhub']:.1f} ms by kdhub")
    for part, share in shares.items():
        print(f"added, {part:10} {told(share, '+.2%')}")


if __name__ == "__main__":
    main()
