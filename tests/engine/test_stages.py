"""Methods of several stages: one command, nothing done twice, nothing taken for what it is not."""

from __future__ import annotations

import importlib
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from kdhub.config import check_config, load_config
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.report.report import write_report
from kdhub.engine.train import train
from kdhub.errors import PluginError, UsageError
from kdhub.registry import init
from kdhub.testing.isolation import isolated_plugins

TEACHER = """
    model = dict(type='TinyClassifier', width=8)
"""
STUDENT = """
    predecessors = dict(teacher='teacher.py')
    model = dict(
        type='kdhub.Distiller',
        student=dict(type='TinyClassifier'),
        teacher=dict(
            type='kdhub.ModelTeacher',
            model='@teacher/student/model.py',
            checkpoint='@teacher/student/model.safetensors'),
        objectives=dict(logits=dict(loss=dict(type='kdhub.TemperatureKL'), student='head', teacher='head')))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two configs beside each other, in a folder that is not the current one."""
    common = tiny.config("")
    common.pop("work_dir")
    common.pop("model")
    (tmp_path / "common.py").write_text(common.pretty_text)
    for name, text in (("teacher", TEACHER), ("student", STUDENT)):
        (tmp_path / f"{name}.py").write_text("_base_ = ['common.py']\n" + textwrap.dedent(text))
    return tmp_path


def student(folder: Path, *options: str) -> Config:
    cfg = load_config(folder / "student.py", options)
    cfg.work_dir = str(folder / "run")
    return cfg


def card(work_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work_dir / "run.json").read_text())
    return found.get("content", found)


def test_one_command_trains_teacher_and_student(folder: Path) -> None:
    """People would have to run two commands in order, and copy the path of a checkpoint from one to the other."""
    result = train(student(folder))
    own = load_file(folder / "run/teacher/student/model.safetensors")
    assert own["body.weight"].shape == (8, 2)
    assert result.student_path == folder / "run/student"
    config = (folder / "run/config.py").read_text()
    assert str(folder / "run/teacher/student/model.safetensors") in config
    assert "predecessors" not in config


def test_a_finished_predecessor_is_not_repeated(folder: Path) -> None:
    """A teacher that trains for days would be trained anew for each student."""
    train(student(folder))
    before = (folder / "run/teacher/run.json").read_bytes()
    train(student(folder))
    train(student(folder, "train_cfg.max_iters=9"), resume=True)
    assert (folder / "run/teacher/run.json").read_bytes() == before


def test_a_predecessor_of_another_config_is_refused(folder: Path) -> None:
    """Its weights would be taken for those of the config that stands there now."""
    train(student(folder))
    with pytest.raises(UsageError, match="another config") as caught:
        train(student(folder, "teacher:model.width=6"))
    assert "model" in str(caught.value)
    assert "predecessors.teacher" in str(caught.value)


def test_a_student_of_a_former_teacher_is_not_taken_for_finished(folder: Path) -> None:
    """A teacher that was trained anew under the same path would leave its old student in place."""
    train(student(folder))
    first = load_file(folder / "run/student/model.safetensors")
    (folder / "run/teacher").rename(folder / "old")
    with pytest.raises(UsageError, match="another experiment"):
        train(student(folder, "teacher:train_cfg.max_iters=3"))
    assert torch.equal(load_file(folder / "run/student/model.safetensors")["head.bias"], first["head.bias"])


class StopError(Exception):
    """Ends a run as a crash does."""


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_a_run_goes_on_in_the_stage_in_which_it_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """A crash in the second stage must not cost the first, nor one in the first its checkpoints."""
    train(student(folder))
    unbroken = load_file(folder / "run/student/model.safetensors")
    (folder / "run").rename(folder / "unbroken")
    width = 8 if stage == "teacher" else 4
    forward = tiny.TinyClassifier.forward
    steps = []

    def failing(self: Any, inputs: Any, labels: Any, mode: str = "tensor") -> Any:
        if mode == "loss" and self.head.in_features == width:
            steps.append(mode)
            if len(steps) == 5:
                raise StopError
        return forward(self, inputs, labels, mode)

    with monkeypatch.context() as patch:
        patch.setattr(tiny.TinyClassifier, "forward", failing)
        with pytest.raises(StopError):
            train(student(folder))
        assert (folder / "run/config.py").exists() == (stage == "student")
    steps.clear()
    monkeypatch.setattr(tiny.TinyClassifier, "forward", failing)
    train(student(folder), resume=True)
    assert len(steps) == 3  # the checkpoint is of iteration 3
    resumed = load_file(folder / "run/student/model.safetensors")
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predecessors": {"tutor": "teacher.py"}}, ["'@teacher/student/model.py'", "@tutor"]),
        ({"predecessors": {"teacher": "techer.py"}}, ["techer.py", "predecessors.teacher"]),
        ({"predecessors": {"teacher": "student.py"}}, ["its own predecessor"]),
        ({"predecessors": {"teacher": {"path": "teacher.py"}}}, ["not a predecessor", "predecessors.teacher"]),
        ({"predecessors": ["teacher.py"]}, ["not a dict of name to config"]),
    ],
    ids=["reference", "file", "itself", "key", "list"],
)
def test_mistakes_are_told_before_anything_runs(folder: Path, change: dict[str, Any], words: list[str]) -> None:
    """A misspelt reference would be found once the teacher has trained for a day."""
    cfg = student(folder)
    for key, value in change.items():
        cfg._cfg_dict[key] = value
    with pytest.raises(UsageError) as caught:
        train(cfg)
    assert all(word in str(caught.value) for word in words)
    assert not (folder / "run").exists()
    assert not check_config(cfg, init()).ok


def test_an_override_of_an_unknown_predecessor_is_told(folder: Path) -> None:
    """It would be an override of nothing."""
    with pytest.raises(UsageError, match="no predecessor 'teachr'") as caught:
        student(folder, "teachr:model.width=6")
    assert "teacher" in str(caught.value)


def test_check_looks_at_predecessors_too(folder: Path) -> None:
    """A misspelt key in the second of three stages would stop a method at night."""
    report = check_config(student(folder, "teacher:train_cfg.max_iters=4"), init())
    assert report.ok, [one.line() for one in report.findings]
    text = (folder / "teacher.py").read_text()
    (folder / "teacher.py").write_text(text + "model = dict(type='kdhub.testing.toys.ToySegmentor', widht=6)\n")
    found = check_config(student(folder), init()).errors
    assert [one.path for one in found] == ["teacher:model.widht"]


JOB = """
from pathlib import Path

def count(folder, upto, fail=False):
    for number in range(upto):
        file = Path(folder, f"{number}.txt")
        if file.exists():
            continue
        if number == 2 and Path(folder, "../stop").exists():
            raise KeyboardInterrupt
        if fail and number == 2:
            raise RuntimeError("the server is gone")
        file.write_text(str(number))
    return {"files": upto}
"""
MANIFEST = """
import kdhub

@kdhub.hookimpl
def kdhub_plugin_info():
    return kdhub.PluginInfo(summary="Counts", api_level=1)

@kdhub.hookimpl
def kdhub_components():
    yield kdhub.Component(kind="job", name="Count", target="kdcount.jobs:count", summary="Writes a file a number")
"""


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """A plugin with a job, and its config."""
    package = tmp_path / "site/kdcount"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "jobs.py").write_text(JOB)
    (package / "plugin.py").write_text(MANIFEST)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with isolated_plugins(importlib.import_module("kdcount.plugin")):
        yield Config({"job": {"type": "kdcount.Count", "upto": 4}, "work_dir": str(tmp_path / "job")})


def test_a_job_is_done_once(counting: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answers of a paid server would be asked for again by each student."""
    first = train(counting)
    assert first.metrics == {"files": 4}
    (tmp_path / "job/3.txt").unlink()
    assert train(counting).metrics == {"files": 4}
    assert not (tmp_path / "job/3.txt").exists()
    assert check_config(counting, init()).ok


def test_a_job_that_was_stopped_goes_on(counting: Config, tmp_path: Path) -> None:
    """It finds what it wrote, and is not taken for done; and its error is one line, as that of any other part of a plugin."""
    counting.job.fail = True
    with pytest.raises(PluginError, match=r"kdcount.*job: kdcount\.Count raised RuntimeError: the server is gone"):
        train(counting)
    assert card(tmp_path / "job")["status"] == "running"
    assert sorted(path.name for path in (tmp_path / "job").glob("*.txt")) == ["0.txt", "1.txt"]
    (tmp_path / "job/0.txt").write_text("kept")
    (tmp_path / "job/2.txt").write_text("from elsewhere")
    assert train(counting).metrics == {"files": 4}
    assert (tmp_path / "job/0.txt").read_text() == "kept"


def test_a_job_that_the_user_stops_says_how_to_go_on(counting: Config, tmp_path: Path) -> None:
    """Ctrl-C in a job of hours would end in a traceback, and leave open whether anything was kept."""
    (tmp_path / "stop").touch()
    with pytest.raises(Interrupted, match="to go on: kdhub train"):
        train(counting)
    (tmp_path / "stop").unlink()
    assert train(counting).metrics == {"files": 4}
    with pytest.raises(UsageError, match=r"a job, which has no report .*kdcount.Count, finished"):
        write_report(tmp_path / "job")


def test_a_folder_of_another_job_is_refused(counting: Config) -> None:
    """Files for other inputs would be mixed."""
    train(counting)
    counting.job.upto = 5
    with pytest.raises(UsageError, match="another config"):
        train(counting)


def test_a_job_without_its_input_is_one_line(counting: Config) -> None:
    """It would be a TypeError of Python."""
    counting.job.pop("upto")
    with pytest.raises(UsageError, match="needs 'upto'"):
        train(counting)
    assert any("upto" in one.line() for one in check_config(counting, init()).errors)


def test_the_page_on_stages_works(folder: Path, page_blocks: Any) -> None:
    """What a reader copies from the page must name a teacher that is found, and a job that is one."""
    named, job = page_blocks("docs/how-to/train-in-stages.md")
    model = STUDENT[STUDENT.index("    model = dict(") :].replace(
        "objectives=", "teacher=teacher,\n        objectives="
    )
    model = model[: model.index("        teacher=dict(")] + model[model.index("        teacher=teacher") :]
    text = f"_base_ = ['common.py']\n{named}{textwrap.dedent(model)}"
    (folder / "student.py").write_text(text)
    assert train(student(folder)).student_path.is_dir()
    assert card(folder / "run/teacher")["status"] == "finished"
    parts: dict[str, Any] = {}
    exec(job, parts)  # noqa: S102 (the page is ours)
    (folder / "1.json").write_text("7")
    assert parts["count"](folder, 2) == {"files": 2}
    assert [json.loads((folder / f"{number}.json").read_text()) for number in range(2)] == [0, 7]
