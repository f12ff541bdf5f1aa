"""A plugin with components of every kind that the checker treats differently, and a config that is right."""

import copy
import sys
import textwrap
from pathlib import Path

import pytest

from kdhub.config import check_config
from kdhub.testing import isolated_plugins

sys.path.insert(0, str(Path(__file__).parent))  # for mutations.py and mutant_runs.py

MANIFEST = """
    from kdhub import Component, LossSpec, PluginInfo, hookimpl


    @hookimpl
    def kdhub_plugin_info():
        return PluginInfo(summary="Components to check", api_level=1, tasks=("toy",))


    @hookimpl
    def kdhub_losses():
        yield LossSpec(name="Triplet", target="kdcheck.parts:Triplet", summary="Two student inputs and labels",
                       inputs=("student", "student_negative", "teacher", "labels"), optional=("mask",))


    @hookimpl
    def kdhub_components():
        yield Component(kind="model", name="Student", target="kdcheck.parts:Student", summary="A student")
        yield Component(kind="dataset", name="Points", target="kdcheck.parts:Points", summary="Data")
        yield Component(kind="metric", name="Error", target="kdcheck.parts:Error", summary="A metric")
        yield Component(kind="model", name="Unimportable", target="kdcheck.heavy:Unimportable", summary="Needs too much")


    @hookimpl
    def kdhub_check_config(cfg, report):
        if cfg.get("experiment_name") == "explode":
            raise RuntimeError("a rule of the plugin is broken")
        if cfg.get("experiment_name") == "forbidden":
            report.error("experiment_name", "the plugin does not like it")
"""

PARTS = """
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel
    from torch import nn


    class Triplet(nn.Module):
        def __init__(self, margin: float = 0.1):
            super().__init__()

        def forward(self, student, student_negative, teacher, labels, mask=None):
            return student.sum()


    class Student(BaseModel):
        def __init__(self, width: int, depth: int = 2, **kwargs):
            super().__init__(**kwargs)


    class Points:
        def __init__(self, data_root: str, split: str = "train"):
            pass


    class Error(BaseMetric):
        pass
"""


@pytest.fixture
def manager(install_fake):
    """The built-in plugin and `kdcheck`; importing the parts of `kdcheck` imports torch."""
    files = {
        "kdcheck/__init__.py": "",
        "kdcheck/plugin.py": MANIFEST,
        "kdcheck/parts.py": PARTS,
        "kdcheck/again.py": "from kdcheck.parts import Triplet\n",
        "kdcheck/heavy.py": "import a_library_that_nobody_has",
    }
    install_fake("kdhub-check", files=files, entry_points={"kdcheck": "kdcheck.plugin"})
    import kdcheck.plugin

    with isolated_plugins(kdcheck.plugin) as manager:
        yield manager


VALID = {
    "model": {
        "type": "kdhub.Distiller",
        "student": {"type": "kdcheck.Student", "width": 4},
        "teacher": {
            "type": "kdhub.ModelTeacher",
            "model": {"type": "kdcheck.Student", "width": 8},
            "checkpoint": "https://host/teacher.pth",
        },
        "objectives": {
            "logits": {
                "loss": {"type": "kdhub.TemperatureKL", "temperature": 2.0},
                "student": "head",
                "teacher": "head",
                "adapter": [{"type": "kdhub.SpatialResize"}],
                "weight": {"type": "kdhub.LinearSchedule", "start": 1.0, "end": 0.0, "steps": 10},
            },
            "triplet": {
                "loss": {"type": "kdcheck.Triplet", "margin": 0.2},
                "student": {"student": {"type": "kdhub.ModuleOutput", "path": "body"}, "student_negative": "body"},
                "teacher": "body",
                "batch": {"labels": "labels"},
                "weight": 2,
            },
        },
        "guards": {"zero_term": 2},
        "task_weight": 0.5,
    },
    "train_dataloader": {
        "batch_size": 4,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
        "dataset": {"type": "kdcheck.Points", "data_root": "."},
    },
    "train_cfg": {"by_epoch": True, "max_epochs": 1},
    "val_dataloader": {
        "batch_size": 4,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": "kdcheck.Points", "data_root": ".", "split": "val"},
    },
    "val_cfg": {},
    "val_evaluator": [{"type": "kdcheck.Error", "prefix": "error"}],
    "optim_wrapper": {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 1e-3},
        "clip_grad": {"max_norm": 1.0},
    },
    "param_scheduler": [{"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 5}],
    "default_hooks": {
        "checkpoint": {"interval": 1},
        "progress": {"metrics": 3},
        "logger": {"type": "LoggerHook", "interval": 5},
    },
    "custom_hooks": [{"type": "kdhub.InterruptHook", "priority": "LOW"}],
    "randomness": {"seed": 0},
}


@pytest.fixture
def valid():
    """A config without findings, to be changed."""
    return copy.deepcopy(VALID)


@pytest.fixture
def check(manager):
    """All findings of a config."""
    return lambda cfg, deep=False: check_config(cfg, manager, deep=deep).findings


@pytest.fixture
def findings(check):
    """The findings of a config: path to finding; fails if one path has two."""

    def by_path(cfg, deep=False):
        found = check(cfg, deep)
        named = {finding.path: finding for finding in found}
        assert len(named) == len(found), [finding.line() for finding in found]
        return named

    return by_path


@pytest.fixture
def write(tmp_path):
    """Write a config file below a folder of the test; returns its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write
