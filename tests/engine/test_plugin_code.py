"""What a plugin's code raises ends in one line that names place, component and distribution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from kdhub.engine.train import train
from kdhub.errors import PluginError
from kdhub.plugins import Switches
from kdhub.testing import fake_distribution, isolated_plugins

MANIFEST = """
from kdhub.api import Component, LossSpec, PluginInfo, hookimpl

@hookimpl
def kdhub_plugin_info():
    return PluginInfo(summary="Faults", api_level=1)

@hookimpl
def kdhub_losses():
    yield LossSpec(target="kdfaults.parts:Good", summary="s")
    yield LossSpec(target="kdfaults.parts:Typo", summary="s")

@hookimpl
def kdhub_teacher_hooks():
    yield Component(kind="tap", target="kdfaults.parts:BadTap", summary="s")
    yield Component(kind="teacher", target="kdfaults.parts:BadTeacher", summary="s")
    yield Component(kind="teacher", target="kdfaults.parts:Nameless", summary="s")

@hookimpl
def kdhub_adapters():
    yield Component(kind="adapter", target="kdfaults.parts:BadAdapter", summary="s")

@hookimpl
def kdhub_components():
    kinds = dict(NoneSchedule="schedule", BadSchedule="schedule", BadMetric="metric", NumberMetric="metric",
                 BadHook="runner_hook", BadModel="model")
    for name, kind in kinds.items():
        yield Component(kind=kind, target=f"kdfaults.parts:{name}", summary="s")

@hookimpl
def kdhub_export_student(student, path, cfg, metainfo):
    if "cannot_export" in cfg["work_dir"]:
        raise ValueError("no such format")
"""

PARTS = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn

from kdhub.api import ModuleOutput, Teacher

class Good(nn.Module):
    def forward(self, student, teacher):
        return (student - teacher).square().mean()

class Typo(Good):
    def __init__(self):
        super().__init__()
        self.power = pwoer

class BadAdapter(nn.Module):
    def __init__(self):
        raise ValueError("bad width")

class BadTap(ModuleOutput):
    def record(self, value):
        super().record(value.no_such_method())

class BadTeacher(Teacher):
    def answers(self, batch):
        return {"head": self.table[batch]}

    def fingerprint(self):
        return "one"

class Nameless(BadTeacher):
    def fingerprint(self):
        return None

class NoneSchedule:
    def __call__(self, step):
        return None

class BadSchedule:
    def __call__(self, step):
        return 1 / step

class BadMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {"share": results["right"]}

class NumberMetric(BadMetric):
    def compute_metrics(self, results):
        return 0.5

class BadHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        outputs["nothing"]

class BadModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, inputs, labels, mode="tensor"):
        return self.heads(inputs)
"""


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The plugin kdfaults, of the distribution kdhub-faults 2.3."""
    files = {"kdfaults/__init__.py": "", "kdfaults/plugin.py": MANIFEST, "kdfaults/parts.py": PARTS}
    folder = tmp_path_factory.mktemp("site")
    with (
        fake_distribution(folder, "kdhub-faults", "2.3", files=files, entry_points={"kdfaults": "kdfaults.plugin"}),
        isolated_plugins(installed=True, switches=Switches(only=frozenset({"kdfaults"}))),
    ):
        yield


def objective(**parts: Any) -> dict[str, Any]:
    loss = {"type": "kdfaults.Good"}
    return {"objectives": {"x": {"loss": loss, "student": "head", "teacher": "head", **parts}}}


@pytest.mark.parametrize(
    ("model", "others", "line"),
    [
        (objective(loss={"type": "kdfaults.Typo"}), {}, r"objectives\.x\.loss: kdfaults\.Typo raised NameError"),
        (objective(adapter={"type": "kdfaults.BadAdapter"}), {}, r"x\.adapter: kdfaults\.BadAdapter raised ValueError"),
        (
            objective(student={"type": "kdfaults.BadTap", "path": "head"}),
            {},
            r"objectives\.x\.student: kdfaults\.BadTap raised AttributeError",
        ),
        (
            {"teacher": {"type": "kdfaults.BadTeacher"}, **objective()},
            {},
            r"model\.teacher: kdfaults\.BadTeacher raised AttributeError: .*'table'",
        ),
        (
            {"teacher": {"type": "kdfaults.Nameless"}, **objective()},
            {},
            r"model\.teacher: kdfaults\.Nameless has the fingerprint None where a text should be",
        ),
        (
            objective(weight={"type": "kdfaults.NoneSchedule"}),
            {},
            r"x\.weight: kdfaults\.NoneSchedule returned None where a number should be",
        ),
        (
            objective(weight={"type": "kdfaults.BadSchedule"}),
            {},
            r"x\.weight: kdfaults\.BadSchedule raised ZeroDivision",
        ),
        ({"student": {"type": "kdfaults.BadModel"}}, {}, r"model\.student: kdfaults\.BadModel raised AttributeError"),
        ({}, {"val_evaluator": {"type": "kdfaults.BadMetric"}}, r"val_evaluator: kdfaults\.BadMetric raised TypeError"),
        (
            {},
            {"val_evaluator": {"type": "kdfaults.NumberMetric"}},
            r"val_evaluator: kdfaults\.NumberMetric raised AttributeError: 'float'",
        ),
        ({}, {"custom_hooks": [{"type": "kdfaults.BadHook"}]}, r"custom_hooks\.0: kdfaults\.BadHook raised KeyError"),
    ],
)
def test_a_fault_of_a_plugin_is_one_line(model: Any, others: Any, line: str, tmp_path: Path) -> None:
    """A traceback of eighty lines names neither the place in the config nor whose fault it is, so we get the report."""
    with pytest.raises(PluginError, match=rf"^plugin 'kdfaults' \(kdhub-faults 2\.3\): \S*{line}"):
        train(tiny.config(tmp_path, **{"model": {**tiny.distiller(), **model}, **others}))


def test_a_hook_of_a_manifest_is_named(tmp_path: Path) -> None:
    """It belongs to no part of the config, so that only the function can say what was asked of the plugin."""
    with pytest.raises(
        PluginError, match=r"kdhub-faults 2\.3\): .*kdhub_export_student raised ValueError: no such format"
    ):
        train(tiny.config(tmp_path / "cannot_export"))


def test_the_traceback_is_there_for_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who mends a plugin needs the whole of it."""
    monkeypatch.setenv("KDHUB_PLUGIN_ERRORS", "raise")
    with pytest.raises(KeyError, match="nothing"):
        train(tiny.config(tmp_path, custom_hooks=[{"type": "kdfaults.BadHook"}]))
