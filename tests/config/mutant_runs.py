"""The configs that are mutated, and a short training of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

import kdhub.engine.train as training

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

PARTS = "from tiny import TinyAccuracy, TinyClassifier, TinyPoints\n"
MANIFEST = """
    from kdhub import Component, PluginInfo, hookimpl


    @hookimpl
    def kdhub_plugin_info():
        return PluginInfo(summary="Toys to train", api_level=1, tasks=("toy",))


    @hookimpl
    def kdhub_components():
        yield Component(kind="model", name="Classifier", target="kdtoy.parts:TinyClassifier", summary="A perceptron")
        yield Component(kind="dataset", name="Points", target="kdtoy.parts:TinyPoints", summary="Points of the plane")
        yield Component(kind="metric", name="Accuracy", target="kdtoy.parts:TinyAccuracy", summary="Share of right answers")
"""


def bases() -> dict[str, dict[str, Any]]:
    """Describe the configs: one of local classes that ``custom_imports`` registers, by iterations, and one of a plugin, by epochs."""
    import tiny

    local = tiny.config("WORK_DIR", model=tiny.distiller(own_weights=True)).to_dict()
    local["custom_imports"] = {"imports": ["tiny"]}
    local["train_cfg"]["max_iters"] = 4
    local["train_cfg"]["val_interval"] = 2
    local["default_hooks"] = {
        "checkpoint": {"interval": 2, "save_best": "tiny/accuracy", "rule": "greater"},
        "logger": {"interval": 1},
    }
    local["param_scheduler"] = {"type": "LinearLR", "start_factor": 0.5, "by_epoch": False, "end": 3}
    points = {"type": "kdtoy.Points", "size": 8}
    plugin = {
        "model": {
            "type": "kdhub.Distiller",
            "student": {"type": "kdtoy.Classifier", "width": 4},
            "teachers": {
                "large": {
                    "type": "kdhub.ModelTeacher",
                    "model": {"type": "kdtoy.Classifier", "width": 8},
                    "own_weights": True,
                }
            },
            "objectives": {
                "logits": {
                    "loss": {"type": "kdhub.TemperatureKL", "temperature": 2.0},
                    "student": "head",
                    "teacher": "large:head",
                    "weight": {"type": "kdhub.LinearSchedule", "start": 1.0, "end": 0.5, "steps": 4},
                },
                "features": {
                    "loss": {"type": "kdhub.MSE"},
                    "student": {"type": "kdhub.ModuleOutput", "path": "body"},
                    "teacher": "large:body",
                    "adapter": [{"type": "kdhub.Linear", "in_features": 4, "out_features": 8}],
                    "weight": 2,
                },
            },
            "task_weight": 0.5,
            "guards": {"zero_term": 2},
        },
        "train_dataloader": {
            "batch_size": 4,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate"},
            "dataset": points,
        },
        "train_cfg": {"by_epoch": True, "max_epochs": 2, "val_interval": 1},
        "val_dataloader": {
            "batch_size": 4,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "default_collate"},
            "dataset": {"type": "kdtoy.Points", "size": 8, "seed": 1},
        },
        "val_cfg": {"type": "ValLoop"},
        "val_evaluator": [{"type": "kdtoy.Accuracy", "prefix": "toy"}],
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999]},
            "clip_grad": {"max_norm": 1.0},
            "accumulative_counts": 1,
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": True, "end": 1, "convert_to_iter_based": True},
            {"type": "CosineAnnealingLR", "T_max": 2, "by_epoch": True, "begin": 1, "end": 2},
        ],
        "default_hooks": {
            "checkpoint": {"interval": 1, "save_best": "toy/accuracy", "max_keep_ckpts": 2},
            "logger": {"type": "LoggerHook", "interval": 1},
            "progress": {"metrics": 3},
        },
        "custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "toy/accuracy", "patience": 5, "priority": "LOW"}],
        "visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
        "log_processor": {"window_size": 5, "by_epoch": True},
        "env_cfg": {"cudnn_benchmark": False},
        "randomness": {"seed": 0, "deterministic": False},
        "load_from": None,
        "default_scope": "mmengine",
        "log_level": "INFO",
        "work_dir": "WORK_DIR",
    }
    return {"local": local, "plugin": plugin}


class EnoughError(Exception):
    """A mutant has trained long enough."""


class EnoughHook(Hook):
    """Ends a run that a huge number has made long."""

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop."""
        if runner.iter >= 8:
            raise EnoughError


def train_for_a_moment(cfg: dict[str, Any], folder: Path) -> None:
    """Train a config in this process, as the command line does once the check has passed."""
    build = training._build

    def with_an_end(*arguments: Any) -> Any:
        runner = build(*arguments)
        runner.register_hook(EnoughHook(), "LOWEST")
        return runner

    work_dir = cfg.get("work_dir")
    described = Config({**cfg, "work_dir": str(folder)} if work_dir == "WORK_DIR" else cfg)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_build", with_an_end)
        patch.chdir(folder.parent)
        try:
            training.train(described)
        except EnoughError:
            return
