"""What writing a teacher store costs over the teacher's own time.

The loop of `kdhub cache` (`TeacherSource.answer`, `StoreWriter.add`, and at the end `close`, which commits and merges) against the
same loop that drops the answers, for the data and teachers of two configs: CamVid (logits of EfficientNet-Lite2) and Cranfield
(embeddings of MiniLM). Each loaded batch goes through all variants in random order; loading is not timed. One repetition
is a pass over the training data into new stores, and ends with closing them, fsync included, on the disk of ``--folder``.

Quoted is the ratio of the totals, with the range of the single repetitions, or from ten on with a 95 % interval by bootstrap over
them; beside it, with less noise, the time spent in the writer over that of the teacher alone. A whole pass is less than the 64 MiB
after which a writer commits by itself. So that commits and merging are in the totals, here it commits after an eighth of what a pass
writes (or 30 seconds, as ever), and closing it merges all these blocks into one: each record is written twice, as in a large store.
The benchmark stops if there was nothing to merge or it was not merged, or if a store does not hold what the teacher answered.

Usage: python benchmarks/caching.py [--repetitions 5] [--batches N] [--recipes "CamVid logits"] [--root .] [--folder /tmp] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from figures import told, with_spread  # noqa: E402
from filling import Answer, new_store  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from recipes import RECIPES, add_arguments, begin, load  # noqa: E402

from kdhub.caching.data import TeacherData  # noqa: E402
from kdhub.caching.source import TeacherSource  # noqa: E402
from kdhub.distill.precision import relative_error  # noqa: E402
from kdhub.store import StoreReader, store_info  # noqa: E402

PRECISIONS = {"float32": 0.0, "float16": 1e-3}
"""Precision, and the largest relative error with which it must give back what was written."""

COMMITS = 8
"""Commits of a pass, about."""

Keys = list[tuple[int, int]]
Totals = Mapping[str, float]


def source_of(name: str) -> tuple[TeacherSource, list[Keys]]:
    """Return the teacher with its data, and the keys of all batches of one pass."""
    cfg = load(name)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    loader = Runner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=0)
    draws = RECIPES[name].draws
    mode = "plain" if draws is None else "recorded"
    data = TeacherData(loader.dataset, cfg.train_dataloader.dataset, mode, draws or 1)
    source = TeacherSource.of(model, "teacher", model.teachers["teacher"], data, loader, 0)
    keys = [(index, 0) for index in range(len(data))]
    return source, [keys[first : first + source.batch_size] for first in range(0, len(keys), source.batch_size)]


def repetition(source: TeacherSource, batches: Sequence[Keys], folder: Path, chance: random.Random) -> Totals:
    """Take one pass over the data; return the seconds of each variant, and those within each writer."""
    parts = [batches[0], batches[0][:1]]
    observed = list(zip(map(len, parts), source.answers(parts), strict=True))
    samples = sum(map(len, batches))
    writers = {name: new_store(folder / name, observed, name, samples) for name in PRECISIONS}
    for name, writer in writers.items():
        writer.COMMIT_BYTES = samples * record_bytes(observed[1][1], name) // COMMITS
    variants = ["dropped", *PRECISIONS]
    totals, writing = (dict.fromkeys(variants, 0.0) for _ in range(2))
    for keys, batch in zip(batches, source.batches(batches), strict=True):
        for variant in chance.sample(variants, len(variants)):
            begun = time.perf_counter()
            answer = source.answer(batch)
            answered = time.perf_counter()
            if variant in writers:
                writers[variant].add(keys, answer)
            ended = time.perf_counter()
            totals[variant] += ended - begun
            writing[variant] += ended - answered
    for variant, writer in writers.items():
        require_blocks(folder / variant, 2, samples)
        os.sync()  # what the other one left to be written is not this one's
        begun = time.perf_counter()
        writer.close()
        totals[variant] += time.perf_counter() - begun
        writing[variant] += time.perf_counter() - begun
    require_kept(folder, batches, answer)
    return totals | {f"in the writer, {variant}": writing[variant] for variant in writers}


def record_bytes(answer: Answer, precision: str) -> int:
    """Return how much the values of one sample take."""
    return sum(value.numel() for value in answer.values()) * getattr(torch, precision).itemsize


def require_blocks(store: Path, fewest: int, most: int) -> None:
    """Stop if a store does not lie in so many blocks."""
    blocks = store_info(store).blocks
    if not fewest <= blocks <= most:
        sys.exit(f"{store.name}: {blocks} blocks, not {fewest} to {most}; with few batches there is nothing to merge")


def require_kept(folder: Path, batches: Sequence[Keys], last: Answer) -> None:
    """Stop if a store lacks a record or does not hold what the teacher answered to the last batch."""
    for name, limit in PRECISIONS.items():
        require_blocks(folder / name, 1, 1)
        reader = StoreReader(folder / name)
        kept = reader.read(batches[-1])
        errors = {tap: relative_error(kept[tap], value) for tap, value in last.items()}
        if len(reader) != sum(map(len, batches)) or max(errors.values()) > limit:
            sys.exit(f"the store in {name} is not what the teacher answered: {len(reader)} records, errors {errors}")


def ratio(above: str, below: str) -> Callable[[Sequence[Totals]], float]:
    return lambda rows: sum(row[above] for row in rows) / sum(row[below] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5, help="passes over the data (default 5)")
    parser.add_argument("--batches", type=int, help="batches of a pass (default: all)")
    parser.add_argument("--folder", help="where to write, for its disk (default: the system's temporary folder)")
    add_arguments(parser)
    args = parser.parse_args()
    folder = os.path.abspath(args.folder) if args.folder else None
    begin(args.root)
    result = {}
    for name in args.recipes:
        source, batches = source_of(name)
        rows, chance = [], random.Random(0)
        for _ in range(args.repetitions):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                rows.append(repetition(source, batches[: args.batches], Path(place), chance))
        result[name] = {
            "seconds": {variant: sum(row[variant] for row in rows) / len(rows) for variant in rows[0]},
            "ratio": {one: with_spread(rows, ratio(one, "dropped")) for one in PRECISIONS},
            "writer": {one: with_spread(rows, ratio(f"in the writer, {one}", "dropped")) for one in PRECISIONS},
        }
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), "repetitions": args.repetitions, "recipes": result}))
        return
    print(f"{args.repetitions} repetitions, {torch.get_num_threads()} threads")
    for name, one in result.items():
        print(f"{name}: the teacher alone takes {one['seconds']['dropped']:.2f} s a pass")
        for precision in PRECISIONS:
            whole, own = told(one["ratio"][precision], ".3f"), told(one["writer"][precision], ".2%")
            print(f"  times as long with the store in {precision}: {whole}; the writer's own time: {own}")


if __name__ == "__main__":
    main()
