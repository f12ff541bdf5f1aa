"""The faults, as a table: one is added by adding a function."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from firing.process import MissedError, require
from firing.rounds import Round

from kdhub.engine.integrity import LEDGER
from kdhub.engine.work_dir import POINTER

FAULTS: dict[str, tuple[Callable[[Round], None], int]] = {}
"""Name to what happens, and in how many processes the run is."""


def fault(processes: int = 1) -> Callable[[Callable[[Round], None]], Callable[[Round], None]]:
    """Enter a function into the table; it raises `MissedError` if the run was over before the fault."""

    def enter(function: Callable[[Round], None]) -> Callable[[Round], None]:
        FAULTS[function.__name__] = function, processes
        return function

    return enter


@fault()
def killed_in_training(run: Round) -> None:
    """SIGKILL at a random moment, be it during the start, a step, an evaluation or the report."""
    with run.train() as process:
        process.run_for(run.moment())
        process.kill()


@fault()
def killed_while_saving(run: Round) -> None:
    """SIGKILL while a checkpoint is half on the disk, seen by its unfinished file."""
    with run.train() as process:
        skipped = run.random.randrange(6)
        known: set[str] = set()
        while process.running():
            partial = [name for name in _names(run.work_dir) if name.startswith(".iter_") and name not in known]
            known.update(partial)
            if partial and len(known) > skipped:
                process.kill()
                require(
                    any((run.work_dir / name).exists() for name in partial) or run.recorded(), "nothing half written"
                )
                return
    raise MissedError


@fault()
def flipped_byte(run: Round) -> None:
    """One bit of the newest checkpoint, or of a file about the checkpoints, is another one."""
    _damage(run, _flip)


@fault()
def truncated_file(run: Round) -> None:
    """The end of the newest checkpoint, or of a file about the checkpoints, is missing."""
    _damage(run, _truncate)


@fault()
def killed_worker(run: Round) -> None:
    """A data worker is killed, as by the system when memory runs out."""
    with run.train() as process:
        process.run_for(run.moment())
        workers = process.children()
        if not workers:
            raise MissedError
        process.kill(run.random.choice(workers))
        if process.wait() == 0:
            run.finished = True  # the worker had delivered its last batch
            return
        process.require_told("a data worker died")


@fault(processes=2)
def killed_process_of_two(run: Round) -> None:
    """One of torchrun's two processes is killed; the other must neither hang nor save."""
    with run.train() as agent:
        agent.run_for(run.moment())
        processes = agent.children()
        if len(processes) != 2:
            raise MissedError
        victim, survivor = run.random.sample(processes, 2)
        agent.kill(victim)
        require(agent.wait() != 0, "torchrun took no notice")
        agent.wait_for(survivor)
        if agent.errors():  # before training begins, torchrun's signal ends the other process in silence
            agent.require_told("another process of this run has ended")


@fault()
def full_disk(run: Round) -> None:
    """No file may grow beyond a random size: some checkpoint, or a log, cannot be written."""
    limit = run.random.randrange(16_000, run.checkpoint_size)
    with run.train(file_limit=limit) as process:
        require(process.wait() == 2, f"exit code {process.code}")
        process.require_told("no space left")


@fault()
def second_run(run: Round) -> None:
    """Another process trains into the same work_dir; it is refused and the first goes on."""
    with run.train() as first:
        while first.running() and not (run.work_dir / ".lock").is_file():
            time.sleep(0.001)
        first.run_for(run.random.uniform(0, run.seconds / 3))
        with run.train(run.random.choice(["--resume", "--amp"])) as second:
            code = second.wait()
            if not first.running():
                raise MissedError
            require(code == 2, f"the second run ended with {code}")
            second.require_told("another run is at work")
        require(first.wait() == 0, "the first run was disturbed")
    run.finished = True


def _damage(run: Round, damage: Callable[[Path, random.Random], None]) -> None:
    run.stop_somewhere()
    recorded = run.recorded()
    victim = run.random.choice([recorded[0], recorded[0], POINTER, LEDGER, "run.json"])
    damage(run.work_dir / victim, run.random)
    # without the ledger it goes by the pointer, which may be one checkpoint behind if the kill came in between
    pointed = Path((run.work_dir / POINTER).read_text(errors="replace")).name
    run.expected = {recorded[0]: recorded[1], LEDGER: pointed}.get(victim, recorded[0])


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
