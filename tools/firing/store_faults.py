"""What can happen to a teacher store, and to those who fill it."""

from __future__ import annotations

from firing.caching_round import CachingRound
from firing.disk import Damage, flip, read_only, small_disk, truncate
from firing.process import MissedError, Process, require
from firing.rounds import names
from firing.table import fault

from kdhub.store import StoreReader


@fault(CachingRound)
def killed_while_caching(run: CachingRound) -> None:
    """SIGKILL at a random moment, be it during the start, a batch, a commit or the merge."""
    with run.cache() as process:
        process.run_for(run.moment())
        _kill(run, process)


@fault(CachingRound)
def killed_while_committing(run: CachingRound) -> None:
    """SIGKILL while a block is half on the disk, seen by its unfinished file."""
    with run.cache() as process:
        skipped = run.random.randrange(24)
        known: set[str] = set()
        while process.running():
            partial = [name for name in names(run.store) if name.startswith(".shard-") and name not in known]
            known.update(partial)
            if partial and len(known) > skipped:
                _kill(run, process)
                return
    raise MissedError


@fault(CachingRound)
def killed_worker_while_caching(run: CachingRound) -> None:
    """The data worker is killed, as by the system when memory runs out."""
    with run.cache() as process:
        process.run_for(run.moment() / 2)
        workers = process.data_workers()
        before = run.held()
        process.kill(run.random.choice(workers))
        if process.wait() == 0:
            run.finished = True  # the worker had delivered its last batch
            return
        process.require_told("a data worker died", "kdhub cache ")
        require(before <= run.held(), "a commit is lost")


@fault(CachingRound, processes=2)
def killed_cacher_of_two(run: CachingRound) -> None:
    """One of torchrun's two processes is killed; the other must neither hang nor harm the store."""
    with run.cache() as agent:
        agent.run_for(run.moment())
        processes = agent.children()
        if len(processes) != 2:
            raise MissedError
        victim, survivor = run.random.sample(processes, 2)
        before = run.held()
        agent.kill(victim)
        if agent.wait() == 0:
            run.finished = True  # the victim had done its part
            return
        agent.wait_for(survivor)
        require(before <= run.held(), "a commit is lost")
        if agent.errors():  # before the processes have met, torchrun's signal ends the other one in silence
            agent.require_told("another process of this run has ended", "kdhub cache ")


@fault(CachingRound)
def flipped_byte_in_store(run: CachingRound) -> None:
    """One bit of a block, or of the manifest, is another one."""
    _damage(run, flip)


@fault(CachingRound)
def truncated_store(run: CachingRound) -> None:
    """The end of a block, or of the manifest, is missing."""
    _damage(run, truncate)


@fault(CachingRound)
def full_disk_for_store(run: CachingRound) -> None:
    """The disk is full at some commit."""
    with small_disk(run.store, run.random.randrange(8_000, run.reference.size)):
        _require_full(run, run.cache())


@fault(CachingRound)
def read_only_store(run: CachingRound) -> None:
    """Nothing can be written where the store is or shall be: filling it is refused, and reading a full one is not."""
    state = run.random.choice(["new", "begun", "full"])
    if state == "begun":
        run.stop_somewhere()
    elif state == "full":
        run.done(run.cache())
    with read_only(run.store.parent):
        with run.cache() as process:
            require(process.wait() == 2, f"exit code {process.code}")
            process.require_told("Read-only file system", "choose another")
        if state == "full":
            run.done(run.train())


@fault(CachingRound)
def two_writers(run: CachingRound) -> None:
    """Another process fills the same store; it is refused and the first goes on."""
    with run.cache() as first:
        first.run_for(run.moment())
        if not _introduced(run):
            raise MissedError
        with first.stopped(), run.cache() as second:
            require(second.wait() == 2, f"the second process ended with {second.code}")
            second.require_told("filling this store", "wait for it")
        require(first.wait() == 0, "the first process was disturbed")
    run.finished = True


def _introduced(run: CachingRound) -> bool:
    try:
        return bool((run.store / ".lock").read_bytes())
    except FileNotFoundError:
        return False


def _kill(run: CachingRound, process: Process) -> None:
    before = run.held()
    process.kill()
    require(before <= run.held(), "a commit is lost")


def _require_full(run: CachingRound, process: Process) -> None:
    with process:
        require(process.wait() == 2, f"exit code {process.code}")
        process.require_told("no space left", "kdhub cache ")


def _damage(run: CachingRound, damage: Damage) -> None:
    if run.random.random() < 0.5:
        run.stop_somewhere()
    else:
        run.done(run.cache())
    held = len(run.held())
    blocks = {block.path: len(block) for block in StoreReader(run.store).blocks}
    victim = run.random.choice([*blocks, run.store / "manifest.json"])
    damage(victim, run.random)
    # one record, the whole block if its head was hit; all stay where it was the manifest, or a blank in it
    run.kept = frozenset([held, held - 1, held - blocks[victim]] if victim in blocks else [held])
    if run.random.random() < 0.5:
        _train_from_damaged(run)


def _train_from_damaged(run: CachingRound) -> None:
    with run.train() as process:
        if process.wait() == 0:
            run.compare_weights()
        else:
            process.require_told("teacher store", "kdhub cache ")
