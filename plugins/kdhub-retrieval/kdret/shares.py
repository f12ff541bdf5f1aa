"""Work in shares over the processes of a machine or a cluster, by Ray Data.

Every share writes its own result to a disk that all processes see, or returns a few numbers, so hardly anything goes through
Ray's object store. What a share gives depends on the share alone, so it is the same for any number of workers. Ray starts a worker
that has died again and repeats the share it was at.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdhub.api import UsageError, integer, require

_STORE = 100 << 20
"""Bytes of Ray's object store on a machine of one's own."""


def each(worker: type, items: Sequence[int], workers: int, **given: Any) -> Iterator[dict[str, Any]]:
    """Call a worker for each item, and yield what it returns, in any order.

    Args:
        worker: A class; its objects take an item and return a dictionary of numbers and texts.
        items: Numbers of shares.
        workers: How many processes at once; 0 is this process, without Ray. ``RAY_ADDRESS`` names a cluster; without it Ray
            starts on this machine.
        **given: Arguments of the worker's constructor.

    Raises:
        UsageError: If Ray is not installed, or what the worker raised.
    """
    require("workers", integer(0), workers=workers)
    if not workers:
        work = worker(**given)
        yield from map(work, items)
        return
    ray = _started(workers)
    shares = ray.data.from_items([{"item": item} for item in items], override_num_blocks=max(len(items), 1))
    done = shares.map(
        _Worker,
        fn_constructor_kwargs={"worker": worker, "given": given},
        concurrency=workers,
        # without its word Ray hides every GPU from a worker
        num_gpus=gpus_of_worker(ray.cluster_resources().get("GPU", 0), workers),
    )
    for row in done.iter_rows():
        if row["error"]:
            raise UsageError(row["error"])
        yield json.loads(row["found"])


def gpus_of_worker(gpus: float, workers: int) -> float:
    """Return the part of a GPU that each worker gets: a whole one, or where there are fewer, an equal part with others.

    Args:
        gpus: Of the machine or cluster.
        workers: How many at once.
    """
    return 1 / math.ceil(workers / int(gpus)) if gpus >= 1 else 0.0


class _Worker:
    """What Ray Data calls: makes the worker once in each process, and gives a user's mistake back as its one line."""

    def __init__(self, worker: type, given: Mapping[str, Any]) -> None:
        self._made: Any = None
        self._make = lambda: worker(**given)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        try:
            self._made = self._made or self._make()
            found = self._made(int(row["item"]))
        except UsageError as error:
            return {"found": "", "error": str(error)}
        return {"found": json.dumps(found), "error": ""}


def _started(workers: int) -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(
            "Ray is not installed", fix="pip install 'kdhub-retrieval[ray]', or leave --workers out"
        ) from error
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if not os.environ.get("RAY_ADDRESS"):  # one more than the workers: Ray hands out the shares too
            options |= {"num_cpus": workers + 1, "object_store_memory": _STORE, "include_dashboard": False}
        try:
            ray.init(**options)
        except Exception as error:  # Ray has no class of its own for most of what goes wrong here
            ray.shutdown()
            raise UsageError(
                "Ray does not start",
                where=os.environ.get("RAY_ADDRESS", "this machine"),
                got=" ".join(str(error).split())[:200] or type(error).__name__,
                fix="try again when the machine is less busy, or see that RAY_ADDRESS names a running cluster",
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
