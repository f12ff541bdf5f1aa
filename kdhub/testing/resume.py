"""`assert_resume_exact`: a run that was killed and resumed ends bit for bit as the one that never stopped."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.utils import import_modules_from_strings

from kdhub.checkpoint import read_checkpoint
from kdhub.config.load import load_config
from kdhub.engine import train as training
from kdhub.engine.run_card import RunCard
from kdhub.engine.runner import KdhubRunner
from kdhub.engine.work_dir import latest_checkpoint

_ENTRIES = ("message_hub", "evaluations", "state_dict", "optimizer", "param_schedulers", "ema_state_dict", "kdhub")
"""What is compared, in this order: the first loss that differs tells more than the weights that differ in the end."""

_ARRAYS = (torch.Tensor, np.ndarray)
_OF_THE_MOMENT = frozenset(
    {"time", "data_time", "memory", "seconds", "speed", "latency", "fps", "throughput"}  # the clock's
    | {"experiment_name", "mmengine_version"}  # counted in a process; the commit of the folder one stands in
)
"""Last parts of names whose values no two runs share."""


def assert_resume_exact(
    recipe: str | Path | Config,
    *,
    at: int,
    tmp_path: Path,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    processes: int = 1,
    timeout: float = 600.0,
) -> None:
    """Train to the end; train again, die by SIGKILL right after a step, resume to the end; compare the two bit by bit.

    Each of the three runs has processes of its own. Compared are weights, optimizer, parameter schedulers, averaged
    weights, every logged number, random number generators, guards, and the evaluations in ``run.json``; not times.

    Args:
        recipe: Config file, ``"scope:recipe"`` or a config. Classes of a test's own come by its ``custom_imports``.
        at: Iterations after which the second run dies. One that is no multiple of the checkpoint interval is the harder
            test: what came after the last checkpoint is lost and done again.
        tmp_path: An empty folder.
        cfg_options: Overrides, to make the run short: a few seconds and several checkpoints are enough. As for
            `kdhub.config.load.load_config`; a mapping if ``recipe`` is a config.
        processes: Number of processes, joined by gloo on the CPU.
        timeout: Seconds that one run may take.

    Raises:
        AssertionError: Naming the first thing that differs, or what kept a run from ending as it should.

    Example:
        ::

            def test_resume(tmp_path):
                options = {'train_cfg.max_iters': 6, 'default_hooks.checkpoint.interval': 2}
                assert_resume_exact('kdret:my_recipe', at=3, tmp_path=tmp_path, cfg_options=options)
    """
    if isinstance(recipe, Config):
        cfg = copy.deepcopy(recipe)
        cfg.merge_from_dict(dict(cfg_options) if isinstance(cfg_options, Mapping) else {})
    else:
        cfg = load_config(recipe, cfg_options)
    work_dir = tmp_path / "run"
    cfg.work_dir = str(work_dir)  # the same for both: its path is in what they save

    _run(_Job(cfg, tmp_path / "unbroken.log", processes), timeout)
    work_dir.rename(tmp_path / "unbroken")
    _run(_Job(cfg, tmp_path / "killed.log", processes, dies_after=at), timeout)
    saved = latest_checkpoint(work_dir)
    if saved is None:
        raise AssertionError(
            f"the run saved no checkpoint within {at} iterations; set default_hooks.checkpoint.interval, or a later at"
        )
    begun = read_checkpoint(saved)["meta"]["iter"]
    _run(_Job(cfg, tmp_path / "resumed.log", processes, resumes=True), timeout)
    differing = list(_differences(_result(tmp_path / "unbroken"), _result(work_dir)))
    if differing:
        raise AssertionError(
            f"killed after iteration {at} and resumed from iteration {begun}, the run differs from the unbroken one in"
            f" {len(differing)} entries, first in {differing[0]}"
        )


@dataclass(frozen=True)
class _Job:
    """One run.

    Attributes:
        cfg: The config.
        log: File for what it prints.
        processes: Number of processes.
        dies_after: Iteration after which each process kills itself; ``None`` to reach the end.
        resumes: Whether it goes on from the work_dir's checkpoint.
    """

    cfg: Config
    log: Path
    processes: int
    dies_after: int | None = None
    resumes: bool = False


def _run(job: _Job, timeout: float) -> None:
    # forked from a process that has imported everything (mmengine's report on its environment wants torchvision) and run
    # nothing: no run sees traces of another
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torchvision"])
    port = _free_port()
    started = [
        context.Process(target=_train, args=(job, rank, port, dict(os.environ))) for rank in range(job.processes)
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + timeout
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
    alive = [process for process in started if process.is_alive()]
    for process in alive:
        process.kill()
        process.join()
    ends = [process.exitcode for process in started]
    # the death of one process may reach another before its own step is over
    as_expected = not any(ends) if job.dies_after is None else -signal.SIGKILL in ends and 0 not in ends
    if alive or not as_expected:
        reached = f"was still running after {timeout:g} s" if alive else "ended otherwise than it should"
        printed = job.log.read_text(encoding="utf-8", errors="replace")[-4000:] if job.log.is_file() else "nothing"
        raise AssertionError(f"the run of {job.log.name} {reached}; it printed:\n{printed}")


def _train(job: _Job, rank: int, port: int, environment: Mapping[str, str]) -> None:
    """Train in a fresh process."""
    os.environ.update(environment)
    with job.log.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if job.processes > 1:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(job.processes)}
        os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank))
    if job.dies_after is not None:
        _Dying.dies_after = job.dies_after
        training.KdhubRunner = _Dying  # type: ignore[attr-defined]
    try:
        if job.cfg.get("custom_imports"):
            import_modules_from_strings(**job.cfg.custom_imports)
        training.train(job.cfg, resume=job.resumes, launcher="pytorch" if job.processes > 1 else "none")
    except Exception:  # noqa: BLE001 - told in the log, and by the status
        traceback.print_exc()
        sys.exit(1)


class _Dying(KdhubRunner):
    """Kills its process after an iteration, as the kernel does where memory runs out."""

    dies_after: int

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        """Call the hooks, and die behind the last of them."""
        super().call_hook(fn_name, **arguments)
        if fn_name == "after_train_iter" and self.iter + 1 == self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _result(work_dir: Path) -> dict[str, Any]:
    """Flatten what a run left."""
    checkpoint = latest_checkpoint(work_dir)
    card = RunCard.read(work_dir)
    if checkpoint is None or card is None:
        raise AssertionError(f"{work_dir} holds no checkpoint and run card to compare")
    content = {**read_checkpoint(checkpoint), "evaluations": card.content.get("evaluations", [])}
    return {name: leaf for entry in _ENTRIES for name, leaf in _leaves(content.get(entry), entry)}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if name.rpartition(".")[2].rpartition("/")[2] in _OF_THE_MOMENT:
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(entry, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _leaves(entry, f"{name}.{index}")
    elif isinstance(value, HistoryBuffer):
        for part, array in zip(("values", "counts"), value.data, strict=True):
            yield f"{name}.{part}", array
    else:
        yield name, value


def _differences(unbroken: Mapping[str, Any], resumed: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*unbroken, *resumed)):
        if name not in unbroken or name not in resumed:
            yield f"{name}, which only the {'unbroken' if name in unbroken else 'resumed'} run has"
            continue
        one, other = unbroken[name], resumed[name]
        if isinstance(one, _ARRAYS) and isinstance(other, _ARRAYS):
            yield from _array_differences(name, np.asarray(one), np.asarray(other))
        elif repr(one) != repr(other):  # unlike ==, it finds two NaN equal, and 1 and 1.0 not
            yield f"{name}: {one!r}, resumed {other!r}"


def _array_differences(name: str, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Iterator[str]:
    if one.shape != other.shape or one.dtype != other.dtype:
        yield f"{name}: {one.dtype} {one.shape}, resumed {other.dtype} {other.shape}"
    elif one.tobytes() != other.tobytes():
        flat, others = one.reshape(-1), other.reshape(-1)
        places = np.flatnonzero(flat != others)
        first = int(places[0]) if len(places) else 0
        yield f"{name}: {len(places)} of {flat.size} values, number {first + 1} is {flat[first]}, resumed {others[first]}"
