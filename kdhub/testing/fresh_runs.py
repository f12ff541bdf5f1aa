"""Trainings in fresh processes, some of which die on the way: what `assert_resume_exact` compares."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from kdhub.engine import train as training
from kdhub.engine.libraries import import_library
from kdhub.engine.runner import KdhubRunner
from kdhub.registry import init


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        cfg: The config.
        log: File for what it prints.
        processes: Number of processes, joined by gloo on the CPU.
        timeout: Seconds that it may take.
        dies_after: Iteration after which each process kills itself; ``None`` to reach the end.
        resumes: Whether it goes on from the work_dir's checkpoint.
    """

    cfg: Config
    log: Path
    processes: int
    timeout: float
    dies_after: int | None = None
    resumes: bool = False


@contextmanager
def fresh_runs(cfg: Config, log: Path) -> Iterator[Callable[[Job], None]]:
    """Offer a function that trains in processes of its own, and raises an `AssertionError` unless it ends as it should.

    They are forked from a process that has imported everything and run nothing: no run sees traces of another, and what
    takes seconds to import is imported once.

    Args:
        cfg: Names what to import; the config of the jobs.
        log: File for what is printed while importing.
    """
    # asked in the usual way whether there is a GPU, torch forbids the processes forked later to use it
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torchvision"])  # mmengine's report on its environment wants the latter
    ours, theirs = context.Pipe()
    parent = context.Process(target=_serve, args=(theirs, cfg, log, dict(os.environ)))
    parent.start()
    theirs.close()

    def run(job: Job) -> None:
        try:
            ours.send(job)
            ends: list[int | None] = ours.recv()
        except (EOFError, OSError):
            raise AssertionError(f"what the config names cannot be imported:\n{_printed(log)}") from None
        # the death of one process may reach another before its own step is over
        as_expected = not any(ends) if job.dies_after is None else -signal.SIGKILL in ends and 0 not in ends
        if None in ends or not as_expected:
            reached = f"was still running after {job.timeout:g} s" if None in ends else "ended otherwise than it should"
            raise AssertionError(f"the run of {job.log.name} {reached}; it printed:\n{_printed(job.log)}")

    try:
        yield run
    finally:
        ours.close()
        parent.join()


def _serve(jobs: Connection, cfg: Config, log: Path, environment: Mapping[str, str]) -> None:
    """Import, then run one job after the other until nobody asks any more."""
    os.environ.clear()  # this process's was that of whoever started the first one
    os.environ.update(environment)
    _print_to(log)
    try:
        _import_parts(cfg)
    except Exception:  # noqa: BLE001 - told in the log, and by the end of the pipe
        traceback.print_exc()
        return
    while True:
        try:
            job = jobs.recv()
        except EOFError:
            return
        jobs.send(_run(job, jobs))


def _import_parts(cfg: Config) -> None:
    manager = init()
    import_library(cfg)
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    named = set(_texts(cfg.to_dict()))
    for entry in manager.components():
        if entry.type in named:
            entry.load()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts(entry)


def _run(job: Job, jobs: Connection) -> list[int | None]:
    """Return the exit codes; ``None`` for a process that had to be ended because time was up, or nobody waits for it."""
    context = multiprocessing.get_context("fork")
    port = _free_port()
    started: list[BaseProcess] = [
        context.Process(target=_train, args=(job, rank, port)) for rank in range(job.processes)
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + job.timeout
    running = started
    # polled, as a process's sentinel is quiet until its data workers are gone too
    while running and time.monotonic() < deadline and not jobs.poll(0.02):
        running = [process for process in running if process.exitcode is None]
    for process in running:
        process.kill()
    for process in started:
        process.join()
    return [None if process in running else process.exitcode for process in started]


def _train(job: Job, rank: int, port: int) -> None:
    """Train in a fresh process."""
    _print_to(job.log)
    if job.processes > 1:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(job.processes)}
        os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank))
    if job.dies_after is not None:
        _Dying.dies_after = job.dies_after
        training.KdhubRunner = _Dying  # type: ignore[attr-defined]
    try:
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


def _print_to(log: Path) -> None:
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)


def _printed(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:] if log.is_file() else "nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
