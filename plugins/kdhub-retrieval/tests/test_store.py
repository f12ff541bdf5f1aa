"""Embeddings in a teacher store: two columns of texts, and so two rows of each sample, from one tapped method."""

import copy
from pathlib import Path

import pytest
from mmengine.config import Config

from kdhub.caching.fill import cache_teachers
from kdhub.engine.train import train
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import UsageError

CAT = {"type": "kdhub.MethodOutput", "path": "embed", "call": "cat"}


@pytest.fixture
def cfg(tiny_encoder, tiny_data, tmp_path):
    encoder = {"type": "kdret.SentenceEncoder", "model": tiny_encoder, "max_length": 16}
    return Config(
        {
            "model": {
                "type": "kdhub.Distiller",
                "student": encoder | {"layers": [0, 3], "dropout": 0.0},
                "teacher": {
                    "type": "kdhub.StoredTeacher",
                    "store": str(tmp_path / "store"),
                    "teacher": {"type": "kdhub.ModelTeacher", "model": encoder},
                },
                "objectives": {
                    "embedding": {"loss": {"type": "kdret.EmbeddingDistill"}, "student": CAT, "teacher": CAT}
                },
            },
            "train_dataloader": {
                "batch_size": 4,
                "num_workers": 0,
                "sampler": {"type": "InfiniteSampler", "shuffle": True},
                "collate_fn": {"type": "kdret.collate_texts"},
                "dataset": {"type": "kdret.Pairs", "data_root": str(tiny_data), "split": "train"},
            },
            "train_cfg": {"by_epoch": False, "max_iters": 3},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
            "randomness": {"seed": 0},
            "work_dir": str(tmp_path / "run"),
        }
    )


def test_embeddings_of_both_columns_come_back(cfg):
    """Rows of queries and documents that were mixed up would pair each text with another's embedding."""
    (result,) = cache_teachers(cfg)
    assert result.info.missing == 0
    # `verify` compares random entries with the live teacher before the first step
    train(cfg)


def test_the_teacher_of_a_store_is_evaluated_as_a_live_one(cfg, tiny_data, tmp_path):
    """Ranking metrics see the whole collection; a teacher measured outside of a run must see the same one."""
    cfg.val_dataloader = {
        "batch_size": 8,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "kdret.collate_texts"},
        "dataset": {"type": "kdret.RetrievalSplit", "data_root": str(tiny_data), "split": "test"},
    }
    cfg.val_cfg = {}
    cfg.val_evaluator = {"type": "kdret.IRMetric", "measures": ["nDCG@10"]}
    cfg.default_hooks = {"baseline": {"student": False}}
    cache_teachers(cfg)
    live = copy.deepcopy(cfg)
    live.model.teacher, live.work_dir = live.model.teacher.teacher, str(tmp_path / "live")
    train(cfg)
    train(live)
    stored, measured = (RunCard.read(Path(one.work_dir)).content["baselines"]["teachers"] for one in (cfg, live))
    assert stored["teacher"] == measured["teacher"]


def test_similarities_within_the_batch_are_refused(cfg):
    """A row of similarities to the documents of another batch is no target for this one."""
    cfg.model.objectives = {
        "ranking": {"loss": {"type": "kdret.ListwiseKL"}, "student": "similarity", "teacher": "similarity"}
    }
    with pytest.raises(UsageError, match="similarity: the value compares the samples of a batch with each other"):
        cache_teachers(cfg)
