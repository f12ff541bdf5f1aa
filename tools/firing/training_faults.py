"""What can happen to a training with a live teacher."""

from __future__ import annotations

import time

from firing.disk import Damage, flip, read_only, small_disk, small_shared_memory, truncate
from firing.process import MissedError, Process, require
from firing.rounds import names
from firing.table import fault
from firing.training_round import TrainingRound

from kdhub.engine.workdir.work_dir import POINTER


@fault(TrainingRound)
def killed_in_training(run: TrainingRound) -> None:
    """SIGKILL at a random moment, be it during the start, a step, an evaluation or the report."""
    with run.train() as process:
        process.run_for(run.moment())
        process.kill()


@fault(TrainingRound)
def killed_while_saving(run: TrainingRound) -> None:
    """SIGKILL while a checkpoint is half on the disk, seen by its unfinished file."""
    with run.train() as process:
        skipped = run.random.randrange(6)
        known: set[str] = set()
        while process.running():
            partial = [name for name in names(run.work_dir) if name.startswith(".iter_") and name not in known]
            known.update(partial)
            if partial and len(known) > skipped:
                process.kill()
                left = [name for name in names(run.work_dir) if "iter_" in name]  # whole by now, if the kill came late
                require(left, "nothing written")
                return
    raise MissedError


@fault(TrainingRound)
def flipped_byte(run: TrainingRound) -> None:
    """One bit of the newest checkpoint, or of a file about the run, is another one."""
    _damage(run, flip)


@fault(TrainingRound)
def truncated_file(run: TrainingRound) -> None:
    """The end of the newest checkpoint, or of a file about the run, is missing."""
    _damage(run, truncate)


@fault(TrainingRound)
def killed_worker(run: TrainingRound) -> None:
    """A data worker is killed, as by the system when memory runs out."""
    with run.train() as process:
        process.run_for(run.moment() / 2)
        workers = process.data_workers()
        process.kill(run.random.choice(workers))
        if process.wait() == 0:
            run.finished = True  # the worker had delivered its last batch
            return
        process.require_told("a data worker died", run.way_on())


@fault(TrainingRound, processes=2)
def killed_process_of_two(run: TrainingRound) -> None:
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


@fault(TrainingRound)
def full_disk(run: TrainingRound) -> None:
    """The disk is full, or no file may grow beyond a random size: some checkpoint, or a log, cannot be written."""
    if run.random.random() < 0.5:
        _require_full(run, run.train(file_limit=run.random.randrange(16_000, run.reference.size)))
    else:
        with small_disk(run.work_dir, run.random.randrange(64_000, 4 * run.reference.size)):
            _require_full(run, run.train())


@fault(TrainingRound)
def full_shared_memory(run: TrainingRound) -> None:
    """Data workers find no memory to hand a batch over in, as in a container with the usual 64 MiB."""
    with small_shared_memory(run.random.randrange(40_000, 70_000)), run.train() as process:
        if process.wait() == 0:
            raise MissedError
        # which of the two ends first is chance
        what = "shared memory" if "shared memory" in process.errors()[-1] else "a data worker died"
        process.require_told(what, "--shm-size")


@fault(TrainingRound)
def read_only_work_dir(run: TrainingRound) -> None:
    """Nothing can be written to the work_dir when the run is to go on, or to begin."""
    begun = run.random.random() < 0.5
    if begun:
        run.stop_somewhere()
    with read_only(run.work_dir), run.train(*(["--resume"] if begun else [])) as process:
        require(process.wait() == 2, f"exit code {process.code}")
        process.require_told("Read-only file system", "--work-dir")


@fault(TrainingRound)
def second_run(run: TrainingRound) -> None:
    """Another process trains into the same work_dir; it is refused and the first goes on."""
    with run.train() as first:
        while first.running() and not (run.work_dir / ".lock").is_file():
            time.sleep(0.001)
        first.run_for(run.random.uniform(0, run.reference.seconds / 2))
        with first.stopped(), run.train(run.random.choice(["--resume", "--amp"])) as second:
            if (run.work_dir / "report.html").is_file():
                raise MissedError
            code = second.wait()
            require(code == 2, f"the second run ended with {code}")
            second.require_told("another run is at work")
        require(first.wait() == 0, "the first run was disturbed")
    run.finished = True


def _require_full(run: TrainingRound, process: Process) -> None:
    with process:
        require(process.wait() == 2, f"exit code {process.code}")
        process.require_told("no space left", run.way_on())


def _damage(run: TrainingRound, damage: Damage) -> None:
    run.stop_somewhere()
    recorded = run.recorded()
    victim = run.random.choice([recorded[0], recorded[0], POINTER, "run.json"])
    damage(run.work_dir / victim, run.random)
    # a flip that changes nothing, as in what fills a zip up, is no damage; a pointer has no checksum, and may name another
    run.expected = frozenset({recorded[0]: recorded[:2], POINTER: names(run.work_dir)}.get(victim, recorded[:1]))
