"""kdret's mining of negatives against sentence-transformers' `mine_hard_negatives`: time and peak memory as ratios of one run.

Both get the same encoder, which only looks vectors up, so that searching and bookkeeping is what is timed. Documents are clustered
unit vectors with texts of 300 characters; each query has one relevant document. Two tasks: the best negatives, and those that score at least 5 %
below the relevant document. The rival runs with FAISS and without. All variants run in each round, in random order, and must
find the same negatives, or nothing is printed; the medians of the rounds' ratios are quoted. kdret reads the texts of its corpus from a
file and writes one, the rival takes lists and returns a data set. Memory is the peak that mining adds, in a process of its own for each
variant, on Linux.

It needs the package `datasets`, without which the rival does not start: pip install '.[bench]'.

Usage: python benchmarks/mining.py [--documents 50000] [--queries 2000] [--negatives 50] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from figures import Spread, told, with_spread
from mmengine.logging import MMLogger
from sentence_transformers import util
from tqdm import tqdm

from kdret.data.beir import RetrievalData
from kdret.data.corpus import Corpus
from kdret.mine import mine_lists
from kdret.negatives import NegativeRules

WIDTH = 384
TASKS: dict[str, dict[str, float]] = {"best": {}, "margin": {"relative_margin": 0.05}}
SAME = 0.999
"""Share of negatives that must be the same: sums in another order may part a tie at the last rank, or at the margin."""

Negatives = dict[str, set[str]]
"""Ids of each query's negatives, by its id."""


class LookedUp:
    """An encoder that looks vectors up, with what both sides ask of one."""

    device = torch.device("cpu")
    similarity_fn_name = "cosine"
    similarity = staticmethod(util.cos_sim)
    similarity_pairwise = staticmethod(util.pairwise_cos_sim)

    def __init__(self, texts: list[str], vectors: Any) -> None:
        self._rows = {text: row for row, text in enumerate(texts)}
        self._vectors = vectors

    def get_embedding_dimension(self) -> int:
        return WIDTH

    def to(self, _device: str) -> LookedUp:
        return self

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        return self._vectors[[self._rows[text] for text in texts]]

    encode_query = encode_document


@dataclass(frozen=True)
class Collection:
    """Texts, who is relevant to whom, and their encoder.

    Attributes:
        documents: Id to text.
        queries: Id to text; query ``q<n>`` asks for document ``d<n>``.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    encoder: LookedUp


def collection(documents: int, queries: int) -> Collection:
    chance = np.random.default_rng(0)
    vectors = np.empty((documents + queries, WIDTH), np.float32)
    centres = chance.normal(size=(500, WIDTH)).astype(np.float32)
    for start in range(0, documents, 10_000):  # in pieces: what drawing takes must not hide what mining takes
        rows = vectors[start : min(start + 10_000, documents)]
        rows[:] = centres[chance.integers(500, size=len(rows))] + chance.standard_normal(rows.shape, np.float32)
    vectors[documents:] = vectors[:queries] + 0.5 * chance.standard_normal((queries, WIDTH), np.float32)
    for row in vectors:
        row /= np.linalg.norm(row)
    texts = {f"d{row}": f"{row} {chance.bytes(147).hex()}"[:300] for row in range(documents)}
    asked = {f"q{row}": f"query {row}" for row in range(queries)}
    return Collection(texts, asked, LookedUp([*texts.values(), *asked.values()], vectors))


def read_back(one: Collection, folder: Path) -> RetrievalData:
    lines = (f"{key}\t{text}\n" for key, text in one.documents.items())
    (folder / "collection.tsv").write_text("".join(lines), encoding="utf-8")
    qrels = {query: {f"d{query[1:]}": 1} for query in one.queries}
    return RetrievalData(folder, "train", Corpus(folder / "collection.tsv"), one.queries, qrels)


def kdret(one: Collection, data: RetrievalData, negatives: int, task: str) -> Negatives:
    rules = NegativeRules(negatives, relative_margin=TASKS[task].get("relative_margin"))
    path = data.root / "lists.jsonl"
    mine_lists(one.encoder, data, path, rules=rules)
    with path.open(encoding="utf-8") as lines:
        return {row["query_id"]: set(row["doc_ids"][1:]) for row in map(json.loads, lines)}


def rival(one: Collection, negatives: int, task: str, use_faiss: bool) -> Negatives:
    try:
        from datasets import Dataset
    except ImportError as error:
        sys.exit(f"{error}: pip install '.[bench]'")
    if not faiss.get_num_gpus():  # a build for GPUs gives it an index over none of them, whose search ends the process
        faiss.GpuMultipleClonerOptions = None
    pairs = {"query": list(one.queries.values()), "document": [one.documents[f"d{key[1:]}"] for key in one.queries]}
    found = util.mine_hard_negatives(
        Dataset.from_dict(pairs),
        one.encoder,
        corpus=list(one.documents.values()),
        num_negatives=negatives,
        output_format="labeled-list",
        output_scores=True,
        use_faiss=use_faiss,
        verbose=False,
        **TASKS[task],
    )
    name_of = {text: key for key, text in one.documents.items()}
    lists = zip(found["query"], found["document"], strict=True)
    return {f"q{query.split()[1]}": {name_of[text] for text in texts[1:]} for query, texts in lists}


VARIANTS: dict[str, Callable[[Collection, RetrievalData, int, str], Negatives]] = {
    "kdret": kdret,
    "faiss": lambda one, _data, negatives, task: rival(one, negatives, task, use_faiss=True),
    "torch": lambda one, _data, negatives, task: rival(one, negatives, task, use_faiss=False),
}


def require_same(task: str, found: dict[str, Negatives]) -> None:
    ours = found["kdret"]
    for name, theirs in found.items():
        shared = sum(len(ours[query] & theirs.get(query, set())) for query in ours)
        if not shared >= SAME * max(sum(map(len, own.values())) for own in (ours, theirs)):
            sys.exit(f"{task}: kdret and {name} find other negatives")


def times(one: Collection, data: RetrievalData, negatives: int, task: str, rounds: int) -> dict[str, Spread]:
    chance = random.Random(0)
    seconds: list[dict[str, float]] = []
    for number in range(rounds + 1):
        taken: dict[str, float] = {}
        found: dict[str, Negatives] = {}
        for name in chance.sample(list(VARIANTS), len(VARIANTS)):
            begin = time.perf_counter()
            found[name] = VARIANTS[name](one, data, negatives, task)
            taken[name] = time.perf_counter() - begin
        if number:
            seconds.append(taken)
        else:  # the first round warms up and compares
            require_same(task, found)
    return {
        name: with_spread(seconds, lambda rows, name=name: statistics.median(row["kdret"] / row[name] for row in rows))  # type: ignore[misc]
        for name in VARIANTS
        if name != "kdret"
    }


def peak_kib() -> int:
    """Return the most memory so far. Not `getrusage`: its figure begins with what the process had that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def added_mib(name: str, options: argparse.Namespace, task: str) -> float:
    command = [sys.executable, __file__, "--peak-of", name, task]
    for size in ("documents", "queries", "negatives"):
        command += [f"--{size}", str(getattr(options, size))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout.split()[-1]) / 1024


@contextmanager
def quiet() -> Iterator[None]:
    """Silence both sides: their bars and lines cost time on a terminal."""
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    MMLogger.get_instance("current", log_level="ERROR")
    drawn, tqdm.__init__ = tqdm.__init__, lambda self, *args, **named: drawn(self, *args, **{**named, "disable": True})  # type: ignore[method-assign]
    try:
        yield
    finally:
        tqdm.__init__ = drawn  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--negatives", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    one = collection(options.documents, options.queries)
    with quiet(), tempfile.TemporaryDirectory() as name:
        data = read_back(one, Path(name))
        if options.peak_of:
            variant, task = options.peak_of
            before = peak_kib()
            VARIANTS[variant](one, data, options.negatives, task)
            print(peak_kib() - before)
            return
        result = {
            task: {
                "time": times(one, data, options.negatives, task, options.rounds),
                "added_mib": {variant: added_mib(variant, options, task) for variant in VARIANTS},
            }
            for task in TASKS
        }
    if options.json:
        print(json.dumps(result))
        return
    for task, found in result.items():
        ratios = ", ".join(f"{told(ratio, '.2f')} of the time with {name}" for name, ratio in found["time"].items())
        added = ", ".join(f"{name} {mib:.0f}" for name, mib in found["added_mib"].items())
        print(f"{task:<7} {ratios}; MiB added: {added}")


if __name__ == "__main__":
    main()
