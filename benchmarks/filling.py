"""What the benchmarks that write a teacher store have in common: an empty one, and one filled from a live teacher.

Imported by peers.py, caching.py and store.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdhub.caching.stored import StoredTeacher
from kdhub.distill.preprocess import SAMPLE_KEYS
from kdhub.distill.taps import Tap
from kdhub.distill.teachers import Teacher
from kdhub.store import Manifest, StoreWriter, find_tree

Answer = Mapping[str, Any]
"""Tap to value."""


def new_store(
    folder: Path, observed: Sequence[tuple[int, Answer]], precision: str, samples: int, rank: int = 0
) -> StoreWriter:
    """Begin a store, or a further shard of one.

    Args:
        folder: Where; it must be empty, or hold other shards of the same store.
        observed: Numbers of samples, two different ones at least, and what the teacher answered to so many.
        precision: In what form floats are kept.
        samples: Samples that it shall hold.
        rank: Number of the shard.
    """
    taps = tuple(observed[0][1])
    trees = {tap: find_tree([(count, answer[tap]) for count, answer in observed], precision, tap) for tap in taps}
    manifest = Manifest(
        teacher="benchmark",
        taps=taps,
        mode="plain",
        draws=1,
        seed=None,
        samples=samples,
        data="benchmark",
        preprocessing="none",
        precision=dict.fromkeys(taps, precision),
        trees={tap: tree.to_json() for tap, tree in trees.items()},
    )
    return StoreWriter.open(folder, manifest, rank)


def stored(
    live: Teacher, taps: Sequence[Tap], batches: Iterable[dict[str, Any]], samples: int, folder: Path
) -> StoredTeacher:
    """Run a teacher over batches that hold their keys; return one that answers the same from a store in float32."""
    keys, answers = [], []
    for batch in batches:
        raw = {name: value for name, value in batch.items() if name != SAMPLE_KEYS}
        live.values(live.preprocess(raw, True), taps, check_mode=True)
        keys.append([(int(key), key.draw) for key in batch[SAMPLE_KEYS]])
        answers.append({tap.identity: tap.read() for tap in taps})
    first = answers[0]
    observed = [(len(keys[0]), first), (1, {tap: value[:1] for tap, value in first.items()})]
    with new_store(folder, observed, "float32", samples) as writer:
        for some, answer in zip(keys, answers, strict=True):
            writer.add(some, answer)
    return StoredTeacher(str(folder))
