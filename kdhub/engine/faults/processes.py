"""Faults that come from outside of the program, told in one line: a data worker dies, a process is gone, no memory is left."""

from __future__ import annotations

import errno
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed

from kdhub.errors import PluginError, UsageError
from kdhub.files import FullDiskError

_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pids>[\d, ]+)\) (?:is killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)"
)
FROM_WORKER = re.compile(r"Caught \w+ in (DataLoader worker process \d+)")
_PEER = re.compile(
    r"connection (?:was )?(?:closed|reset)|broken pipe|remote process exited|timed out waiting|socket timeout|"
    r"pair closure|communicator was aborted",
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)
_NO_SHARED_MEMORY = re.compile(r"unable to .* file </torch_")
_MORE_SHARED_MEMORY = (
    "enlarge /dev/shm (docker run --shm-size=8g), or take fewer workers (train_dataloader.num_workers)"
)
_REMEDIES = {
    "Killed": "the system may have been out of memory: take fewer workers or smaller batches "
    "(train_dataloader.num_workers, .batch_size)",
    "Bus error": f"shared memory is probably full: {_MORE_SHARED_MEMORY}",
}
_UNUSED = "has parameters that were not used in producing loss"
"""From the page that torch's DDP writes about parameters without a gradient."""

_DATA_LOADER = ("utils", "data", "dataloader.py")
_LOOK_CLOSER = "train_dataloader.num_workers=0 shows what happens in it"


@contextmanager
def told_faults(again: Callable[[], str]) -> Iterator[None]:
    """Turn the errors that such a fault raises, deep inside of torch, into a `UsageError`; tell the way on from a full disk.

    Args:
        again: Says what to type to go on, or to try again; asked once something has happened.
    """
    try:
        yield
    except FullDiskError as error:
        raise UsageError(
            error.what, where=error.where, got=error.got, fix=f"{error.fix}; to go on: {again()}"
        ) from error
    except (UsageError, PluginError) as error:
        if isinstance(error.__cause__, (RuntimeError, MemoryError)):  # raised inside a loss or adapter, which is blamed
            told = _explain_first(error.__cause__, again())
            if told is not None:
                raise told from error
        if isinstance(error, UsageError) and FROM_WORKER.match(error.what):
            # torch puts the worker's whole traceback in front
            raise UsageError(error.what.strip().splitlines()[-1].partition(": ")[2]) from error
        raise
    except (RuntimeError, MemoryError, OSError, EOFError, pickle.UnpicklingError) as error:
        told = _explain_first(error, again())
        if told is None:
            raise
        raise told from error


def _explain_first(error: BaseException, again: str) -> UsageError | None:
    try:
        return explain(error, again)
    except RuntimeError as late:  # torch's signal handler tells of a dead worker wherever we are, once for each
        return explain(late, again)


def explain(error: BaseException, again: str) -> UsageError | None:
    """Say what happened and what to do about it; ``None`` for an error that no such fault raises.

    The first fault counts: torch notices a dead worker twice, and one that it ends itself when another process is lost.
    """
    chain = [error]
    while (
        former := chain[-1].__cause__ or (None if chain[-1].__suppress_context__ else chain[-1].__context__)
    ) is not None:
        chain.append(former)
    return next((told for one in reversed(chain) if (told := _explain_one(one, again)) is not None), None)


def _explain_one(error: BaseException, again: str) -> UsageError | None:
    text = str(error)
    if found := _WORKER.search(text):
        signal = (found["signal"] or "").strip()
        return UsageError(
            f"a data worker died (process {found['pids'].strip()})",
            got=f"signal {signal}" if signal else None,
            fix=f"{_REMEDIES.get(signal, _LOOK_CLOSER)}; to go on: {again}",
        )
    if _is_cut_short(error):
        fix = f"{_MORE_SHARED_MEMORY}; {_LOOK_CLOSER}; to go on: {again}"
        return UsageError("a data worker died while it handed over a batch", fix=fix)
    if _NO_SHARED_MEMORY.search(text):
        fix = f"{_MORE_SHARED_MEMORY}; to go on: {again}"
        return UsageError("no shared memory is left to hand over a batch", got=_essence(text), fix=fix)
    if is_no_memory(error, text):
        worker = FROM_WORKER.search(text)
        return UsageError(
            "out of memory",
            where=worker[1] if worker else None,
            got=_essence(text),
            fix=f"take smaller batches (train_dataloader.batch_size) or fewer workers (.num_workers); to go on: {again}",
        )
    if _UNUSED in text:
        return UsageError(
            "some parameters got no gradient in a step, and the processes wait for one of each parameter",
            where="model",
            fix="write find_unused_parameters=True at the top of the config, or freeze what no loss and no objective reads"
            f" (as layers above the tapped one); to try again: {again}",
        )
    if _is_lost_peer(error, text):
        return UsageError(
            "another process of this run has ended",
            where=f"process {distributed.get_rank()} of {distributed.get_world_size()}",
            fix=f"what stopped it stands above, in its own words, if it could tell; to go on: {again}",
        )
    return None


def _is_cut_short(error: BaseException) -> bool:
    """Whether what a worker sent, a message or the memory of a tensor, ended too early; Python has many words for that."""
    if not isinstance(error, (OSError, EOFError, pickle.UnpicklingError)):
        return False
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(path.parts[-3:] == _DATA_LOADER for path in files) and any(
        "multiprocessing" in path.parts for path in files
    )


def is_no_memory(error: BaseException, text: str) -> bool:
    """Whether an error, whose text this is, says that no memory is left."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return _NO_MEMORY.search(text) is not None


def _is_lost_peer(error: BaseException, text: str) -> bool:
    if not (distributed.is_available() and distributed.is_initialized()):
        return False
    # gloo and NCCL raise nothing of the operating system's: that would be somebody's pipe or download
    return isinstance(error, distributed.DistError) or (
        not isinstance(error, OSError) and _PEER.search(text) is not None
    )


def _essence(text: str) -> str | None:
    """Return the last line, where Python and torch put what happened, short enough for one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else None
