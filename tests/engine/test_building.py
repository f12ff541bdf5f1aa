"""What a config describes and what cannot be built from it: one line, with the key path of the part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.config import Config

from kdhub import init
from kdhub.caching.fill import cache_teachers
from kdhub.cli.one_batch import outlines
from kdhub.engine.batch_size import batch_line
from kdhub.engine.train import train
from kdhub.errors import UsageError


def put(cfg: Any, path: str, value: Any) -> None:
    """Set the value at a key path, making the dicts on the way."""
    *way, last = path.split(".")
    for key in way:
        cfg = cfg.setdefault(key, {}) if isinstance(cfg, dict) else cfg[int(key)]
    cfg[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.student.width", "4", "TypeError"),
        ("model.teacher.model.width", -3, "RuntimeError"),
        ("model.teacher.model.type", "TinyClasifier", "unknown type 'TinyClasifier'; did you mean"),
        ("model.objectives.logits.loss.temperature", "hot", "temperature"),
        ("train_dataloader.dataset.sede", 3, "sede"),
        ("val_dataloader.dataset.type", "TinyPoint", "unknown type 'TinyPoint'; did you mean"),
        ("train_dataloader.batch_size", 2.5, "batch_size"),
        ("optim_wrapper.type", "OptimWrappper", "unknown type 'OptimWrappper'; did you mean"),
        ("optim_wrapper.optimizer.betas", 3, "betas"),
        ("param_scheduler", [{"type": "LinearLR", "start_factor": -1}], "ValueError"),
        ("val_dataloader.dataset.size", 0, "the data are empty (expected at least one sample"),
        ("default_hooks.checkpoint.intervla", 2, "takes no 'intervla'; did you mean 'interval'"),
        ("randomness.seed", 10**15, "ValueError"),
        ("custom_hooks", [{"type": "EMAHook", "momentum": 7}], "AssertionError"),
        ("custom_hooks", [{"type": "EMAHook", "priority": "LOWW"}], "LOWW"),
        ("default_hooks.checkpoint.rule", "grater", "grater"),
        (
            "default_hooks.checkpoint.save_best",
            "tiny/acuracy",
            "did you mean 'tiny/accuracy'",
        ),  # met while the run evaluates
        ("val_evaluator.type", "TinyAcuracy", "unknown type 'TinyAcuracy'; did you mean"),
        ("visualizer", {"type": "Visualizer", "vis_backends": [{"type": "NoBackend"}]}, "unknown type 'NoBackend'"),
    ],
)
def test_what_cannot_be_built_is_one_line_with_its_key_path(tmp_path: Path, path: str, value: Any, words: str) -> None:
    """47 of 120 configs with one mistake passed the check and ended in a traceback that names no key."""
    tree = tiny.config(tmp_path, model=tiny.distiller()).to_dict()
    tree["default_hooks"] = {"checkpoint": {"save_best": "tiny/accuracy", "rule": "greater"}}
    put(tree, path, value)
    with pytest.raises(UsageError) as told:
        train(Config(tree))
    where = told.value.where or ""
    section = path.partition(".")[0]
    assert where.partition(".")[0] == section, str(told.value)
    assert path.startswith(where) or where.startswith(path), str(told.value)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_the_traceback_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An author who writes the part that fails needs to see where."""
    monkeypatch.setenv("KDHUB_PLUGIN_ERRORS", "raise")
    tree = tiny.config(tmp_path).to_dict()
    tree["model"]["width"] = "4"
    with pytest.raises(TypeError):
        train(Config(tree))


def test_what_a_model_raises_while_it_trains_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the code of a model is no mistake in the config: one line would hide where it is."""

    def forward(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tiny.TinyClassifier, "forward", forward)
    with pytest.raises(ZeroDivisionError):
        train(tiny.config(tmp_path))


@pytest.mark.parametrize("objectives", [{}, {"logits": None}, None])
def test_without_objectives_the_student_trains_alone(
    tmp_path: Path, objectives: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The ablation that people want: the same run with nothing to learn from the teacher, said in one line."""
    result = train(tiny.config(tmp_path, model={**tiny.distiller(), "objectives": objectives}))
    assert result.student_path is not None
    assert capfd.readouterr().err.count("the student trains on its own losses alone") == 1


def test_a_new_style_config_with_classes_trains(tmp_path: Path) -> None:
    """A plugin's component named by its class is the same component: rules that ask for the name held for strings only."""
    from kdhub.distill.distiller import Distiller
    from kdhub.distill.losses.temperature_kl import TemperatureKL
    from kdhub.distill.teachers import ModelTeacher

    model = tiny.distiller()
    model["type"], model["teacher"]["type"] = Distiller, ModelTeacher
    model["student"]["type"] = tiny.TinyClassifier
    model["objectives"]["logits"]["loss"]["type"] = TemperatureKL
    train(tiny.config(tmp_path, model=model))
    assert "type='kdhub.TemperatureKL'" in (tmp_path / "config.py").read_text()


def test_the_class_name_guard_watches_a_loss_that_is_a_class() -> None:
    """Logits of differently ordered classes have equal shapes; the guard asks the manifest of the loss."""
    from mmengine.registry import MODELS

    from kdhub.distill.losses.temperature_kl import TemperatureKL

    for type_ in (TemperatureKL, "kdhub.distill.losses.temperature_kl.TemperatureKL", "kdhub.TemperatureKL"):
        model = tiny.distiller()
        model["objectives"]["logits"]["loss"]["type"] = type_
        assert MODELS.build(model).objectives["logits"].compares_classes


LOADER = {"train_dataloader": {"batch_size": 2}, "optim_wrapper": {"accumulative_counts": 1}}


@pytest.mark.parametrize(
    ("cfg", "processes", "words"),
    [
        (
            {"filename": "pspnet_r18_4xb2-80k_ade.py"},
            1,
            "a step sees 2 samples, and the learning rate was chosen for 8 (4xb2",
        ),
        ({"filename": "a/b_4xb2.py"}, 1, "linear scaling would take 0.0025 instead of 0.01"),
        ({"filename": "a/b_4xb2.py"}, 4, None),
        ({"filename": "a/b_4xb2.py", "optim_wrapper": {"accumulative_counts": 4}}, 1, None),
        ({"filename": "teacher_80k_cityscapes-512x1024.py"}, 1, None),
        ({"auto_scale_lr": {"base_batch_size": 16}, "filename": "a_4xb2.py"}, 1, "chosen for 16"),
        ({"auto_scale_lr": {"base_batch_size": 16, "enable": True}}, 2, "auto_scale_lr scaled it to 0.01"),
        ({"auto_scale_lr": {"base_batch_size": 2}}, 1, None),
        ({}, 1, None),
    ],
)
def test_a_batch_that_the_rate_was_not_chosen_for_is_said(
    cfg: dict[str, Any], processes: int, words: str | None
) -> None:
    """A recipe for four processes, run by one, takes steps four times too long, without a word."""
    line = batch_line({**LOADER, **cfg}, processes, [0.001, 0.01])
    assert line is None if words is None else words in str(line)


def test_the_batch_is_said_at_the_start_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line on the console, whether or not mmengine scales: its own words go to the log file alone."""
    train(tiny.config(tmp_path, auto_scale_lr={"base_batch_size": 8}))
    assert capfd.readouterr().err.count("linear scaling would take 0.05 instead of 0.1") == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.student.width", "abc"),
        ("model.student.type", "resnet18"),
        ("train_dataloader.dataset.type", "Nope"),
        ("train_dataloader.batch_size", 0),
        ("train_dataloader.collate_fn.type", "nope"),
    ],
)
@pytest.mark.parametrize("build", [lambda cfg: outlines(cfg, init()), cache_teachers], ids=["probe", "cache"])
def test_probe_and_cache_say_it_in_one_line_too(tmp_path: Path, build: Any, path: str, value: Any) -> None:
    """Both build a config without a check before it, and ended in mmengine's and torch's tracebacks."""
    live = {"type": "kdhub.ModelTeacher", "model": {"type": "TinyClassifier", "width": 8}, "own_weights": True}
    model = {**tiny.distiller(), "teacher": {"type": "kdhub.StoredTeacher", "store": str(tmp_path), "teacher": live}}
    tree = tiny.config(tmp_path, model=model).to_dict()
    put(tree, path, value)
    with pytest.raises(UsageError) as told:
        build(Config(tree))
    assert path.startswith(told.value.where or "nowhere"), str(told.value)
