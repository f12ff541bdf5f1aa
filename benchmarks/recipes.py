"""The two trainings that the benchmarks of the teacher store take their steps from, with real data.

Imported by stored_training.py and caching.py.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

import kdhub
from kdhub.config import load_config

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Recipe:
    """A training.

    Attributes:
        config: Below ``configs``.
        draws: As for `StoredTeacher`.
        needs: What must be there, below the folder that the configs name files in, and what makes it.
    """

    config: str
    draws: int | None
    needs: dict[str, str]


RECIPES = {
    "CamVid logits": Recipe(
        "segmentation/camvid/cwd_lite0_teacher-lite2_200it_camvid-240x180.py",
        1,
        {"data/camvid": "camvid", "data/weights": "efficientnet-lite"},
    ),
    "MiniLM embeddings": Recipe(
        "retrieval/embed-rkd_minilm-l2_teacher-minilm-l6_4e_cranfield.py", None, {"data/cranfield": "cranfield"}
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="default: both")
    parser.add_argument(
        "--root", default=".", help="folder that data/ and work_dirs/ of the configs lie in (default: the current one)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def begin(root: str) -> None:
    """Go to the folder of the data, and keep quiet."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.chdir(root)
    kdhub.init()
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    logging.disable(logging.WARNING)


def load(name: str) -> Config:
    """Read the config of a training, ready to be built.

    Stops with what to type if data or ImageNet weights are missing. A teacher that was not trained yet takes as long as one that
    was: it is then built without its checkpoint.
    """
    recipe = RECIPES[name]
    for path, entry in recipe.needs.items():
        if not Path(path).is_dir():
            sys.exit(f"{name}: no {path} in {Path.cwd()}: python {ROOT / 'tools/prepare_data.py'} {entry}, or --root")
    cfg = load_config(ROOT / "configs" / recipe.config)
    checkpoint = cfg.model.teacher.get("checkpoint")
    if checkpoint and not Path(checkpoint).is_file():
        print(f"{name}: no {checkpoint}, so the teacher is untrained, which takes as long", file=sys.stderr)
        cfg.model.teacher.checkpoint = None
    init_default_scope(cfg.get("default_scope") or "mmengine")
    return cfg


def settle(cfg: Config, folder: Path) -> None:
    """Give an untrained teacher a checkpoint: to weights that are drawn anew each time it is built no store can be bound."""
    teacher = cfg.model.teacher
    if "checkpoint" in teacher and teacher.checkpoint is None:  # a model of a hub names none and brings its weights
        torch.save({"state_dict": MODELS.build(teacher).model.state_dict()}, folder / "teacher.pth")
        teacher.checkpoint = str(folder / "teacher.pth")


def with_store(cfg: Config, name: str, folder: Path, precision: str) -> Config:
    """Return the config whose teacher answers from a store."""
    cfg = copy.deepcopy(cfg)
    cfg.model.teacher = {
        "type": "kdhub.StoredTeacher",
        "store": str(folder),
        "teacher": cfg.model.teacher,
        "precision": precision,
        "draws": RECIPES[name].draws,
    }
    return cfg
