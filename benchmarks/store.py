"""The teacher store against a raw memory-mapped array of the same values, what writing costs, and sizes on disk.

Values are as large as a CamVid segmentor's logits (11 x 40 x 56) and MiniLM embeddings (384). Two processes read random
batches at the same time; in each, reads of the store and of the array take turns, in all orders, over different keys, and
the ratio of the median times is quoted: 1.00 reads as fast as the array. All get a list of keys and give a tensor; the array
is read in two ways, ``array.take(indices)``, the fastest that numpy has, and the usual ``array[indices]``. The first read of
a record also checks its checksum and is quoted apart. The store of two shards was written by one process, one shard after
the other, and not merged, so it lies in two blocks; the others lie in one.

Usage: python benchmarks/store.py [--reads 2000] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filling import new_store
from torch import Tensor

from kdhub.store import StoreReader, store_info

KINDS: dict[str, tuple[tuple[int, ...], int, int]] = {
    # name: shape of a sample, samples, shards
    "CamVid logits": ((11, 40, 56), 367, 1),
    "MiniLM embeddings": ((384,), 20_000, 1),
    "MiniLM embeddings in 2 shards": ((384,), 20_000, 2),
    "MiniLM embeddings, 120 000": ((384,), 120_000, 1),
}
PRECISIONS = {"CamVid logits": ("float32", "float16", "bfloat16", "topk:3:float16")}
READERS = 2

Read = Callable[[list[tuple[int, int]]], Tensor]


def values(shape: tuple[int, ...], first: int, count: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(first)) * 4


def write(folder: Path, shape: tuple[int, ...], samples: int, shards: int, precision: str) -> float:
    """Fill a store in batches of 32, with one writer after the other, and return the milliseconds that a sample took."""
    observed = [(count, {"head": values(shape, 0, count)}) for count in (2, 1)]
    seconds = 0.0
    for shard in range(shards):
        writer = new_store(folder, observed, precision, samples, rank=shard)
        for first in range(32 * shard, samples, 32 * shards):
            count = min(32, samples - first)
            value = values(shape, first, count)
            begin = time.perf_counter()
            writer.add([(index, 0) for index in range(first, first + count)], {"head": value})
            seconds += time.perf_counter() - begin
        begin = time.perf_counter()
        writer.close()
        seconds += time.perf_counter() - begin
    return 1e3 * seconds / samples


def raw_array(folder: Path, reader: StoreReader, samples: int) -> Path:
    """Write the same values as one plain array file."""
    first = reader.read([(0, 0)])["head"].numpy()
    array = np.lib.format.open_memmap(
        folder / "raw.npy", mode="w+", dtype=first.dtype, shape=(samples, *first.shape[1:])
    )
    for index in range(0, samples, 32):
        keys = [(key, 0) for key in range(index, min(index + 32, samples))]
        array[index : index + len(keys)] = reader.read(keys)["head"].numpy()
    array.flush()
    return folder / "raw.npy"


def race(folder: Path, samples: int, batch: int, reads: int, seed: int, start: Any, results: Any) -> None:
    """Read in turns; put median seconds of the store, of both ways to read the array, and of first reads of the store."""
    torch.set_num_threads(1)
    reader, mapped = StoreReader(folder), np.asarray(np.load(folder / "raw.npy", mmap_mode="r"))
    chance = random.Random(seed)

    def from_store(keys: list[tuple[int, int]]) -> Tensor:
        return reader.read(keys)["head"]

    def by_take(keys: list[tuple[int, int]]) -> Tensor:
        return torch.from_numpy(mapped.take([index for index, _ in keys], axis=0))

    def by_indexing(keys: list[tuple[int, int]]) -> Tensor:
        return torch.from_numpy(mapped[[index for index, _ in keys]])

    def seconds(read: Read, keys: list[tuple[int, int]]) -> float:
        begin = time.perf_counter()
        read(keys)
        return time.perf_counter() - begin

    indices = list(range(samples))
    chance.shuffle(indices)
    batches = [[(index, 0) for index in indices[at : at + batch]] for at in range(0, samples, batch)]
    assert torch.equal(from_store(batches[0]), by_take(batches[0]))
    for keys in batches:
        by_take(keys)
    start.wait()
    first = [seconds(from_store, keys) for keys in batches[1:]]  # with the one above, a whole pass as training makes it
    found: dict[Read, list[float]] = {from_store: [], by_take: [], by_indexing: []}
    for _, order in zip(range(reads), itertools.cycle(itertools.permutations(found))):
        drawn = [[(chance.randrange(samples), 0) for _ in range(batch)] for _ in order]
        for read, keys in zip(order, drawn, strict=True):
            found[read].append(seconds(read, keys))
    results.put((*map(statistics.median, found.values()), statistics.median(first)))


def compete(folder: Path, samples: int, batch: int, reads: int, rounds: int) -> dict[str, float]:
    context = multiprocessing.get_context("fork")  # as data workers are made
    ratios, indexing_ratios, first_ratios, micros = [], [], [], []
    for turn in range(rounds):
        start, results = context.Barrier(READERS), context.SimpleQueue()
        workers = [
            context.Process(target=race, args=(folder, samples, batch, reads, 10 * turn + number, start, results))
            for number in range(READERS)
        ]
        for worker in workers:
            worker.start()
        for store, take, indexing, first in (results.get() for _ in workers):
            ratios.append(take / store)
            indexing_ratios.append(indexing / store)
            first_ratios.append(take / first)
            micros.append(1e6 * store)
        for worker in workers:
            worker.join()
    return {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "indexing": statistics.median(indexing_ratios),
        "first": statistics.median(first_ratios),
        "microseconds": statistics.median(micros),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=2000, help="reads of each kind in a process and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes, speeds = [], []
    for kind, (shape, samples, shards) in KINDS.items():
        for precision in PRECISIONS.get(kind, ("float32", "float16")):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                took = write(folder / "store", shape, samples, shards, precision)
                info = store_info(folder / "store")
                assert info.blocks == shards
                sizes.append(
                    {
                        "values": kind,
                        "precision": precision,
                        "record": info.record_bytes["head"],
                        "disk": info.bytes / info.records,
                        "write_ms": took,
                    }
                )
                if precision not in ("float32", "float16"):  # numpy has no bfloat16, and no array holds the top classes
                    continue
                raw_array(folder / "store", StoreReader(folder / "store"), samples)
                for batch in (8, 32):
                    found = compete(folder / "store", samples, batch, args.reads, args.rounds)
                    speeds.append({"values": kind, "precision": precision, "batch": batch, **found})
    if args.json:
        print(json.dumps({"sizes": sizes, "speeds": speeds}))
        return
    print("| values | precision | bytes a sample | on disk, with heads | ms to write a sample |\n|---|---|---|---|---|")
    for row in sizes:
        print(
            f"| {row['values']} | {row['precision']} | {row['record']:.0f} | {row['disk']:.0f} | {row['write_ms']:.3f} |"
        )
    print(
        "\n| values | precision | batch | bandwidth of array.take | lowest | of array[...] | first reads | µs a read |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for row in speeds:
        print(
            f"| {row['values']} | {row['precision']} | {row['batch']} | {row['ratio']:.2f} | {row['lowest']:.2f} |"
            f" {row['indexing']:.2f} | {row['first']:.2f} | {row['microseconds']:.1f} |"
        )


if __name__ == "__main__":
    main()
