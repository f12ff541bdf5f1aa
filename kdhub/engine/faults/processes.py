"""Faults that come from outside of the program: a data worker dies, a process is gone, no memory is left."""

from __future__ import annotations

import errno
import pickle
import re
import traceback
from pathlib import Path

import torch
from torch import distributed

from kdhub.errors import UsageError

_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pids>[\d, ]+)\) (?:is killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)"
)
FROM_WORKER = re.compile(r"Caught \w+ in (DataLoader worker process \d+)")
_PEER = re.compile(
    r"connection (?:was )?(?:closed|reset)|broken pipe|remote process exited|timed out waiting|socket timeout|"
    r"pair closure|communicator was aborted",
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|unable to .* file </torch_", re.IGNORECASE)
_UNUSED = "has parameters that were not used in producing loss"
"""From the page that torch's DDP writes about parameters without a gradient."""

_SHARED_MEMORY = "enlarge /dev/shm (docker run --shm-size=8g), or take fewer workers (train_dataloader.num_workers)"
_LOOK_CLOSER = "train_dataloader.num_workers=0 shows what happens in it"
_REMEDIES = {
    "": _LOOK_CLOSER,
    "Killed": "the system may have been out of memory: take fewer workers or smaller batches "
    "(train_dataloader.num_workers, .batch_size)",
    "Bus error": f"shared memory is probably full: {_SHARED_MEMORY}",
}


def process_fault(error: BaseException, again: str) -> UsageError | None:
    """Say what happened and what to do about it; ``None`` for an error that no such fault raises.

    The first fault counts: torch notices a dead worker twice, and one that it ends itself when another process is lost.

    Args:
        error: What was raised, deep inside of torch.
        again: What to type to go on.
    """
    former = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if former is not None and (told := process_fault(former, again)):
        return told
    text = str(error)
    if found := _WORKER.search(text):
        signal = (found["signal"] or "").strip()
        what, where, got = f"a data worker died (process {found['pids'].strip()})", None, signal and f"signal {signal}"
        fix = _REMEDIES.get(signal, _LOOK_CLOSER)
    elif _is_cut_short(error):
        what, where, got = "a data worker died while it handed over a batch", None, None
        fix = f"{_SHARED_MEMORY}; {_LOOK_CLOSER}"
    elif is_no_memory(error):
        worker = FROM_WORKER.search(text)
        what, where, got = "out of memory", worker and worker[1], _last_line(text)
        fix = "take smaller batches (train_dataloader.batch_size) or fewer workers (.num_workers)"
        if "</torch_" in text:
            what, fix = "no shared memory is left to hand over a batch", _SHARED_MEMORY
    elif _UNUSED in text:
        what, where, got = "some parameters got no gradient in a step, and all processes wait for one", "model", None
        fix = (
            "write find_unused_parameters=True at the top of the config, or freeze what no loss and no objective reads"
            " (as layers above the tapped one)"
        )
    elif _is_lost_peer(error):
        what, got = "another process of this run has ended", None
        where = f"process {distributed.get_rank()} of {distributed.get_world_size()}"
        fix = "what stopped it stands above, in its own words, if it could tell"
    else:
        return None
    return UsageError(what, where=where, got=got, fix=f"{fix}; to go on: {again}")


def _is_cut_short(error: BaseException) -> bool:
    """Whether what a worker sent, a message or the memory of a tensor, ended too early; Python has many words for that."""
    if not isinstance(error, OSError | EOFError | pickle.UnpicklingError):
        return False
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    loads = any(path.parts[-3:] == ("utils", "data", "dataloader.py") for path in files)
    return loads and any("multiprocessing" in path.parts for path in files)


def is_no_memory(error: BaseException) -> bool:
    """Whether an error says that no memory is left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    return isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(str(error)) is not None


def _is_lost_peer(error: BaseException) -> bool:
    # gloo and NCCL raise nothing of the operating system's: that would be somebody's pipe or download
    if isinstance(error, OSError) or not (distributed.is_available() and distributed.is_initialized()):
        return False
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and _PEER.search(str(error)) is not None
    )


def _last_line(text: str) -> str | None:
    """Return the line in which Python and torch say what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else None
