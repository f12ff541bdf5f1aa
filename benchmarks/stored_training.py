"""How much of the teacher's share of a training step a store saves.

Two trainings with the data, models and objectives of their configs: CamVid (EfficientNet-Lite2 teaches Lite0, logits) and
Cranfield (MiniLM teaches two of its layers, embeddings). A step is what the runner does with a loaded batch,
``model.train_step(batch)``: preprocessing for everybody, the teacher's answer, forward, losses, backward, optimizer. In each
round every variant takes one step on the same batch with the same random numbers, in random order:

* ``live``: the teacher runs;
* ``store float32`` and ``store float16``: its answer is read within the step, the first time with its checksum;
* ``ready``: its answer lies in memory. This is the floor: no teacher can take less.

Quoted is ``(live - store) / (live - ready)``, from the medians of both differences round by round, with a 95 % interval by
bootstrap over the rounds (below ten of them, the range of the single ones); beside it, with less noise, the time within the stored teacher over ``live - ready``. All start with the
same weights; the benchmark stops if their losses differ in the first rounds. The stores are filled before by `cache_teachers`, from
the whole training data; their bytes are then in the page cache of the system, as in a training whose store fits in memory.

Usage: python benchmarks/stored_training.py [--rounds 40] [--recipes "CamVid logits"] [--root .] [--json]
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from figures import median_ms, told, with_spread  # noqa: E402
from losses import require_equal  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from ready import Clock, ReadyTeacher  # noqa: E402
from recipes import add_arguments, begin, load, settle, with_store  # noqa: E402

from kdhub.caching.fill import cache_teachers  # noqa: E402
from kdhub.distill.distiller import Distiller  # noqa: E402
from kdhub.distill.preprocess import SAMPLE_KEYS  # noqa: E402
from kdhub.engine.resume.replay import wanted_replay  # noqa: E402
from kdhub.engine.resume.sampling import keyed_loader, start  # noqa: E402
from kdhub.store import StoreReader  # noqa: E402

PRECISIONS = ("float32", "float16")
TOLERANCES = {"live": 1e-4, "store float32": 1e-4, "store float16": 1e-2}
"""Relative difference of a loss to that with ready answers: another batch sums in another order, float16 rounds."""
WARM_UP = 3
"""Rounds that are not timed."""

Round = Mapping[str, float]


def batches(cfg: Config, model: Distiller) -> Iterator[dict[str, Any]]:
    """Give the batches that a training with the store of a model would have, pass after pass."""
    loader = Runner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=0)
    loader = keyed_loader(loader, 0, wanted_replay(model, cfg, loader))
    return itertools.chain.from_iterable(start(loader, epoch, 0) for epoch in itertools.count())


def trainer(model: Distiller, cfg: Config) -> Callable[[Any], float]:
    wrapper = Runner.build_optim_wrapper(_Holder(model), copy.deepcopy(cfg.optim_wrapper))
    return lambda batch: model.train_step(batch, wrapper)["loss"].item()


class _Holder:
    """What mmengine's Runner takes its model from when it builds an optimizer."""

    def __init__(self, model: Distiller) -> None:
        self.model = model


def measure(name: str, rounds: int, place: Path) -> list[Round]:
    """Return the seconds of each variant, round by round."""
    cfg = load(name)
    settle(cfg, place)
    ready = ReadyTeacher()
    models = {"live": MODELS.build(cfg.model), "ready": MODELS.build({**cfg.model, "teacher": ready})}
    for precision in PRECISIONS:
        filled = with_store(cfg, name, place / precision, precision)
        cache_teachers(filled)
        models[f"store {precision}"] = MODELS.build(filled.model)
        data = batches(filled, models[f"store {precision}"])
    models["live"].init_weights()
    for model in models.values():
        model.load_state_dict(models["live"].state_dict())
    clocks = {}
    for precision in PRECISIONS:
        teacher = models[f"store {precision}"].teachers["teacher"]
        clocks[f"answer {precision}"] = teacher.values = Clock(teacher.values)
    steps = {variant: trainer(model.train(), cfg) for variant, model in models.items()}
    # another reader than the one that is timed, whose first reads stay its first
    reader, found, chance = StoreReader(place / "float32"), [], random.Random(0)
    for index, batch in zip(range(rounds + WARM_UP), data, strict=False):
        ready.ready = reader.read([(int(key), key.draw % reader.manifest.draws) for key in batch[SAMPLE_KEYS]])
        seconds, losses = {}, {}
        for variant in chance.sample(list(steps), len(steps)):
            own = copy.deepcopy(batch)  # preprocessors write into the samples
            torch.manual_seed(index)
            begun = time.perf_counter()
            losses[variant] = steps[variant](own)
            seconds[variant] = time.perf_counter() - begun
        if index < WARM_UP:
            require_equal(name, losses, "ready", TOLERANCES)
        else:
            found.append(seconds | {answer: clock.seconds for answer, clock in clocks.items()})
    return found


def saved(variant: str) -> Callable[[Sequence[Round]], float]:
    """Return the statistic: the part of the teacher's share that a store saves."""

    def share(rounds: Sequence[Round]) -> float:
        kept = statistics.median(one[variant] - one["ready"] for one in rounds)
        return 1 - kept / statistics.median(one["live"] - one["ready"] for one in rounds)

    return share


def answering(precision: str) -> Callable[[Sequence[Round]], float]:
    """Return the statistic: the time within the stored teacher, as a part of the live teacher's share."""

    def share(rounds: Sequence[Round]) -> float:
        answer = statistics.median(one[f"answer {precision}"] for one in rounds)
        return answer / statistics.median(one["live"] - one["ready"] for one in rounds)

    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each variant (default 40)")
    add_arguments(parser)
    args = parser.parse_args()
    begin(args.root)
    result = {}
    for name in args.recipes:
        with tempfile.TemporaryDirectory() as place:
            rounds = measure(name, args.rounds, Path(place))
        result[name] = {
            "ms": {variant: median_ms([one[variant] for one in rounds]) for variant in rounds[0]},
            "teacher": statistics.median(1 - one["ready"] / one["live"] for one in rounds),
            "saved": {precision: with_spread(rounds, saved(f"store {precision}")) for precision in PRECISIONS},
            "answer": {precision: with_spread(rounds, answering(precision)) for precision in PRECISIONS},
        }
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rounds": args.rounds, "recipes": result}))
        return
    print(f"{args.rounds} rounds, {torch.get_num_threads()} threads")
    for name, one in result.items():
        times = ", ".join(f"{variant} {ms:.2f}" for variant, ms in sorted(one["ms"].items()))
        print(f"{name}: the teacher takes {one['teacher']:.1%} of the step; ms a step: {times}")
        for precision, share in one["saved"].items():
            own = told(one["answer"][precision], ".2%")
            print(f"  store {precision} saves {told(share, '.1%')} of it; its own answers take {own} of it")


if __name__ == "__main__":
    main()
