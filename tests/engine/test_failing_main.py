"""Two processes, of which the main one fails: the other must end too."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import failing
import pytest
import tiny

from kdhub.testing.fresh_runs import _free_port


def run_two(folder: Path, at: str) -> tuple[list[int | None], list[str]]:
    """Train in two processes; return their exit codes, ``None`` for one that had to be killed, and what they printed."""
    cfg = tiny.config(folder / "run")
    cfg.custom_imports = {"imports": ["tiny", "failing"]}
    if at in failing.PLACES:
        cfg.custom_hooks = [{"type": "FailingMain", "at": at}]
    cfg.dump(folder / "config.py")
    context, port = multiprocessing.get_context("forkserver"), _free_port()
    context.set_forkserver_preload(["kdhub.testing.fresh_runs", "torchvision"])
    arguments = (folder / "config.py", folder / "run")
    started = [context.Process(target=failing.train_by_command, args=(*arguments, rank, port)) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(100)
    hanging = [process for process in started if process.exitcode is None]
    for process in hanging:
        process.kill()
        process.join()
    codes = [None if process in hanging else process.exitcode for process in started]
    return codes, [(folder / f"rank{rank}.log").read_text() for rank in (0, 1)]


def test_a_work_dir_that_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    """Only the main process looks at the work_dir, and the other would wait for what it decides."""
    (tmp_path / "run").write_text("no folder")
    codes, printed = run_two(tmp_path, "work_dir")
    assert codes == [2, 2], printed
    assert [text.count("kdhub: error") for text in printed] == [1, 0], printed
    assert "cannot write run" in printed[0]


@pytest.mark.parametrize("at", failing.PLACES)
def test_a_main_process_that_fails_takes_the_other_with_it(tmp_path: Path, at: str) -> None:
    """The other waited in its next exchange of gradients until torch's limit of half an hour, or ended in torch's traceback."""
    codes, printed = run_two(tmp_path, at)
    assert None not in codes, printed
    assert 0 not in codes, printed
    assert str(failing.PLACES[at]) in printed[0], printed
    assert "another process of this run has ended" in printed[1], printed
    assert [text.count("Traceback") for text in printed] == [int(at == "bug"), 0], printed
    assert printed[1].count("kdhub: error") == 1, printed
