"""What happens to a run from outside: workers and processes that die, memory and disks that run out."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from kdhub.checkpoint import agreement
from kdhub.cli.configs import typed
from kdhub.cli.parser import Parser
from kdhub.engine import distributed
from kdhub.engine.faults.explained import explained
from kdhub.engine.faults.processes import process_fault
from kdhub.engine.report.commands import as_typed, cache_command, resume_command
from kdhub.engine.train import train
from kdhub.engine.workdir.lock import folder_lock
from kdhub.engine.workdir.work_dir import POINTER
from kdhub.errors import ToldElsewhereError, UsageError
from kdhub.files import atomic_file
from kdhub.plugins import Switches
from kdhub.store import DamagedStoreError

TOOLS = Path(__file__).parents[2] / "tools"


@DATASETS.register_module(force=True)
class TinyTrap(tiny.TinyPoints):
    """Points, of which the eleventh does something to the data worker that reads it."""

    def __init__(self, trap: str = "") -> None:
        super().__init__()
        self.trap = trap

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == 10 and self.trap == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 10 and self.trap == "memory":
            raise MemoryError
        if index == 10 and self.trap == "usage":
            raise UsageError("the label is missing", where="10.png", fix="add it")
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("trap", "told"),
    [
        (
            "kill",
            r"a data worker died \(process \d+\) \(got signal Killed\) -> .*num_workers.*; to go on: kdhub train .*",
        ),
        ("memory", r"DataLoader worker process 0: out of memory \(got MemoryError\) -> .*; to go on: kdhub train .*"),
        ("usage", r"10\.png: the label is missing -> add it"),
    ],
)
def test_what_happens_in_a_data_worker_is_one_line(tmp_path: Path, trap: str, told: str) -> None:
    """Torch's traceback of fifty lines ends in a pid, and names neither the cause nor the way on."""
    cfg = tiny.config(tmp_path)
    cfg.train_dataloader.update(num_workers=1, dataset={"type": "TinyTrap", "trap": trap})
    with pytest.raises(UsageError) as caught:
        train(cfg)
    assert re.fullmatch(told, str(caught.value))
    assert json.loads((tmp_path / "run.json").read_text())["error"] == f"UsageError: {caught.value}"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
                "out of shared memory. Please try to raise your shared memory limit."
            ),
            r"a data worker died \(process 7\) \(got signal Bus error\) -> .*--shm-size.*; to go on: AGAIN",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            r"a data worker died \(process 7, 8\) -> train_dataloader\.num_workers=0 shows.*; to go on: AGAIN",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            r"out of memory \(got CUDA out of memory\. Tried to allocate 2\.00 GiB\.\) -> .*batch_size.*AGAIN",
        ),
        (OSError(12, "Cannot allocate memory"), r"out of memory .*"),
        (
            RuntimeError(
                "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates"
                " that your module has parameters that were not used in producing loss. You can enable unused parameter"
                " detection by passing the keyword argument `find_unused_parameters=True`\nParameter indices which did not"
                " receive grad for rank 0: 2 3 ..."
            ),
            r"model: some parameters got no gradient .*find_unused_parameters=True at the top of the config.*AGAIN",
        ),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)"),
            r"no shared memory is left .*No space left on device.* -> .*--shm-size.*; to go on: AGAIN",
        ),
    ],
)
def test_torch_own_words_are_understood(error: Exception, told: str) -> None:
    """The messages as torch 2.14 writes them; each hides what to do about it."""
    assert re.fullmatch(told, str(process_fault(error, "AGAIN")))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Connection reset by peer"),
        ValueError("out of memory"),
        OSError(2, "no"),
        BrokenPipeError(32, "Broken pipe"),
    ],
)
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    """A defect that is told as a lost connection would never be found."""
    with pytest.raises(type(error), match=re.escape(str(error))), explained({}, lambda: "AGAIN"):
        raise error


def test_broken_pipes_are_nobodys_death_in_a_run_of_several_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kdhub train | head`, and data read over a network, end in the same words as a lost process of torch's."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert process_fault(BrokenPipeError(32, "Broken pipe"), "AGAIN") is None
    assert process_fault(ConnectionResetError(104, "Connection reset by peer"), "AGAIN") is None


def test_a_lost_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gloo names a file of its own source and a port; the user's question is how to go on."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    error = RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711")
    assert re.fullmatch(
        "process 1 of 2: another process of this run has ended -> .*AGAIN", str(process_fault(error, "AGAIN"))
    )
    assert process_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "AGAIN") is None


def test_the_survivor_has_time_for_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchrun's SIGTERM came before the line that says what has happened, and how to go on."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setenv("RANK", "0")
    former = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RuntimeError, match="closed"), distributed.process_group({}, "pytorch"):
            raise RuntimeError("Connection closed by peer")
        signal.raise_signal(signal.SIGTERM)
        assert signal.alarm(0) > 0
    finally:
        signal.signal(signal.SIGTERM, former)


def test_the_first_fault_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On its way out of a lost connection torch ends its workers, and takes that for their death."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UsageError, match="another process of this run has ended"), explained({}, lambda: "AGAIN"):
        try:
            raise RuntimeError("Connection closed by peer [127.0.0.1]:4711")
        finally:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")


def test_a_death_that_is_noticed_late_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's handler of SIGCHLD raises wherever Python is; while an error was explained, that was a traceback."""
    deaths = [RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")]

    def interrupted(_: object) -> list[object]:
        if deaths:
            raise deaths.pop()
        return []

    monkeypatch.setattr("traceback.walk_tb", interrupted)
    with pytest.raises(UsageError, match=r"a data worker died \(process 7\).*AGAIN"), explained({}, lambda: "AGAIN"):
        raise ConnectionResetError(104, "Connection reset by peer")


def test_a_full_disk_says_what_to_type_once_it_is_no_longer(tmp_path: Path) -> None:
    """Whoever writes the file cannot know the command, and "go on with --resume" leaves the rest of it to memory."""
    with pytest.raises(UsageError) as caught, explained({}, lambda: "AGAIN"), atomic_file(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert re.fullmatch(r".*: no space left to write a; .* -> free some space .*; to go on: AGAIN", str(caught.value))


def test_a_mistake_is_told_by_the_main_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that print the same line, or one that waits for the other until a timeout."""
    for module in (distributed, agreement):
        monkeypatch.setattr(module, "is_main_process", lambda: False)
    monkeypatch.setattr(agreement, "all_gather_object", lambda mine: ["the work_dir is taken", mine])
    with pytest.raises(ToldElsewhereError, match="the work_dir is taken"):
        distributed.decided_by_main_process(lambda: pytest.fail("asked in the wrong process"))


@pytest.mark.parametrize("main", [True, False])
def test_what_another_process_met_is_told_by_the_main_one(monkeypatch: pytest.MonkeyPatch, main: bool) -> None:
    """A damaged record that only one of two processes reads was told by nobody, and the other waited for it."""

    def gathered(mine: str | None) -> list[str | None]:
        return [mine, "a record is damaged"] if main else ["a record is damaged", mine]

    monkeypatch.setattr(agreement, "is_main_process", lambda: main)
    monkeypatch.setattr(agreement, "all_gather_object", gathered)
    with pytest.raises(UsageError, match="^a record is damaged$") as caught:
        agreement.agreed(lambda: 1)
    assert isinstance(caught.value, ToldElsewhereError) is not main


def test_one_s_own_mistake_keeps_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls `train` from Python tells a damaged store from a missing one by the class."""

    def damaged() -> None:
        raise DamagedStoreError(Path("store/block"), "changed")

    with pytest.raises(DamagedStoreError):
        agreement.agreed(damaged)
    assert agreement.agreed(lambda: 7) == 7


def test_two_processes_are_refused_in_one_line(tmp_path: Path) -> None:
    """The second process went on without the first, and ended in a traceback about a connection."""
    tiny.config(tmp_path / "run").dump(tmp_path / "config.py")
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", str(TOOLS / "train.py")]
    with folder_lock(Path(tmp_path)):
        arguments = [str(tmp_path / "config.py"), "--work-dir", str(tmp_path), "--launcher", "pytorch", "--skip-check"]
        done = subprocess.run(
            [sys.executable, "-m", *command, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)},
        )
    told = [line for line in done.stderr.splitlines() if "kdhub: error" in line]
    assert len(told) == 1, done.stderr
    assert f"another run is at work in this work_dir (got process {os.getpid()}" in told[0]
    assert done.stderr.count("Traceback") == 1, done.stderr  # torchrun's own


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Give a folder a second name under which it is read-only, also for its owner and for root."""
    libc, bind, remount, detach = ctypes.CDLL(None, use_errno=True), 4096, 32, 2
    names: list[Path] = []

    def second_name(folder: Path) -> Path:
        name = tmp_path / f"read-only-{len(names)}"
        name.mkdir()
        if libc.mount(os.fsencode(folder), os.fsencode(name), None, bind, None) != 0:
            pytest.skip(f"cannot mount here: {os.strerror(ctypes.get_errno())}")
        names.append(name)
        assert libc.mount(None, os.fsencode(name), None, bind | remount | 1, None) == 0
        return name

    yield second_name
    for name in names:
        assert libc.umount2(os.fsencode(name), detach) == 0


def test_a_read_only_work_dir(tmp_path: Path, read_only: Callable[[Path], Path]) -> None:
    """The first of a dozen files that a run writes decides which traceback it is."""
    work_dir = train(tiny.config(tmp_path / "disk" / "run")).work_dir
    disk = read_only(work_dir.parent)
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"cannot write .*Read-only file system.*--work-dir"):
            train(tiny.config(disk / "run"), resume=resume)
    with pytest.raises(UsageError, match=r"cannot write other.*Read-only file system"):
        train(tiny.config(disk / "other"))


def typed_command(line: str) -> Any:
    """Give the context of a command line, as `main` enters it."""
    switches, words = Switches.read(line.split()[1:], {})
    module = importlib.import_module(f"kdhub.cli.{words[0]}")
    parser = Parser(words[0], "")
    module.add_arguments(parser)
    args = parser.parse(words[1:])
    args.words = line.split()[1:]
    return as_typed(typed(words[0], getattr(args, "config", None) or args.what, args, switches))


@pytest.mark.parametrize(
    ("line", "environment", "told"),
    [
        ("kdhub train kdseg:camvid --cfg-options a.b=1", {}, "kdhub train kdseg:camvid --cfg-options a.b=1 --resume"),
        ("kdhub train a.py --resume", {}, "kdhub train a.py --resume"),
        ("kdhub train a.py --resume w/iter_3.pth --amp", {}, "kdhub train a.py --amp --resume"),
        ("kdhub train a.py --resume=w/best.bin --amp", {}, "kdhub train a.py --amp --resume"),
        ("kdhub -p no:x train a.py --work-dir cache", {}, "kdhub -p no:x train a.py --work-dir cache --resume"),
        (
            "kdhub train a.py --launcher pytorch",
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            "torchrun --standalone --nproc-per-node=2 -m kdhub train a.py --launcher pytorch --resume",
        ),
        (
            "kdhub train a.py --launcher pytorch",
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"},
            "torchrun <as before> -m kdhub train a.py --launcher pytorch --resume",
        ),
    ],
)
def test_what_was_typed_is_what_to_type(
    line: str, environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command with another config, without overrides or without torchrun goes on with another experiment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with typed_command(line):
        assert resume_command(tmp_path) == told.removesuffix(" --resume")  # which would find nothing to resume
        (tmp_path / "iter_3.pth").write_bytes(b"")
        (tmp_path / POINTER).write_text("iter_3.pth")
        assert resume_command(tmp_path) == told
    assert resume_command(tmp_path) == f"kdhub train {tmp_path}/config.py --resume"  # in a program that calls `train`


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("kdhub cache a.py --cfg-options x=1", "kdhub cache a.py --cfg-options x=1"),
        (
            "kdhub train kdseg:camvid --cfg-options x=1 y=[2] --work-dir w",
            "kdhub cache kdseg:camvid --cfg-options x=1 'y=[2]'",
        ),
        ("kdhub train b.py --work-dir cache", "kdhub cache b.py"),
        (
            "kdhub train -p no:other b.py -p ./mine.py --no-plugins --amp",
            "kdhub cache b.py --no-plugins -p no:other -p ./mine.py",
        ),
    ],
)
def test_stores_are_filled_with_the_overrides_that_were_typed(line: str, told: str) -> None:
    """An override may name the store, its precision or the data: without it another store would be filled."""
    with typed_command(line):
        assert cache_command(Config()) == told


def test_a_program_that_calls_kdhub_is_told_its_own_config(tmp_path: Path) -> None:
    """What some other program was called with is no command of kdhub's."""
    (tmp_path / "b.py").touch()
    assert cache_command(Config({}, filename=tmp_path / "b.py")) == f"kdhub cache {tmp_path}/b.py"
