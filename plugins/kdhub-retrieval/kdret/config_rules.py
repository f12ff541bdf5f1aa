"""Rules between parts of a retrieval config that no signature can express."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kdhub.api import Rule, check_numbers

if TYPE_CHECKING:
    from kdhub.api import Report

_ON_LISTS = ("kdret.MarginMSE", "kdret.ListwiseKL", "kdret.RankNet")
_NEED_PAIRS = ("score", "similarity")
_REFUSED = "its constructor would refuse it once the models are loaded"
_NUMBERS = (
    Rule("kdret.SentenceEncoder:max_length", 1, _REFUSED),
    Rule("kdret.SentenceEncoder:dropout", 0, _REFUSED),
    Rule("kdret.SentenceEncoder:score_scale", 0, _REFUSED, open=True),
    Rule("kdret.InBatchCrossEntropy:temperature", 0, _REFUSED, open=True),
    Rule("kdret.ListwiseKL:*temperature", 0, _REFUSED, open=True),
    Rule("kdret.ScoredLists:candidates", 2, _REFUSED),
    Rule("kdret.FaissIndex:effort", 1, _REFUSED),
    Rule("kdret.FaissIndex:memory", 0, _REFUSED, open=True),
)


def check(cfg: Mapping[str, Any], report: Report) -> None:
    """Report every contradiction between objectives, datasets and metric.

    Args:
        cfg: The resolved config.
        report: Gathers findings.
    """
    dataset = _type(cfg, "train_dataloader", "dataset")
    if dataset.startswith("kdret."):
        for name, objective in _objectives(cfg):
            _check_objective(f"model.objectives.{name}", objective, dataset, report)
        _check_collate(cfg, report)
    for part in ("val", "test"):
        _check_evaluation(cfg, part, report)
    check_numbers(cfg, report, _NUMBERS)


def _check_objective(path: str, objective: Mapping[str, Any], dataset: str, report: Report) -> None:
    loss = _type(objective, "loss")
    gather = isinstance(objective.get("loss"), Mapping) and objective["loss"].get("gather")
    batch = objective.get("batch")
    cached = isinstance(batch, Mapping) and "labels" in batch
    if loss in _ON_LISTS and cached == bool(objective.get("teacher")):
        report.error(
            path,
            f"{loss} wants the teacher's scores from one place",
            expected="teacher=... for a live teacher, or batch=dict(labels='labels') for cached scores",
            got="both" if cached else "neither",
        )
    if loss in _ON_LISTS and cached and dataset != "kdret.ScoredLists":
        report.error(
            f"{path}.batch.labels",
            f"{dataset} gives no cached scores",
            expected="train_dataloader.dataset.type='kdret.ScoredLists'",
            fix="mine scores with `kdhub mine`, or tap a live teacher",
        )
    tap = objective.get("student")
    tapped = tap.get("path") if isinstance(tap, Mapping) else tap
    if tapped in _NEED_PAIRS and dataset == "kdret.Texts":
        report.error(
            f"{path}.student",
            f"the encoder has no {tapped!r} for texts that are neither queries nor documents",
            expected="a dataset with queries and documents: kdret.Pairs or kdret.ScoredLists",
            got=dataset,
        )
    if tapped in _NEED_PAIRS and gather:
        report.error(
            f"{path}.student",
            "scores of one process say nothing of the documents of the others",
            expected="dict(type='kdhub.MethodOutput', path='embed', call='all') for gather=True",
            got=repr(tapped),
        )
    if tapped == "score" and dataset == "kdret.Pairs" and loss in _ON_LISTS:
        report.error(
            f"{path}.student",
            "kdret.Pairs has one document for each query, and a list needs two",
            fix="tap 'similarity', which takes all documents of the batch, or use kdret.ScoredLists",
        )


def _check_collate(cfg: Mapping[str, Any], report: Report) -> None:
    loader = cfg["train_dataloader"]
    if _type(loader, "collate_fn") != "kdret.collate_texts":
        report.error(
            "train_dataloader.collate_fn",
            "texts are collated column by column",
            expected="dict(type='kdret.collate_texts')",
            got=_type(loader, "collate_fn") or "mmengine's default, which makes tuples",
        )


def _check_evaluation(cfg: Mapping[str, Any], part: str, report: Report) -> None:
    evaluators = cfg.get(f"{part}_evaluator") or ()
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else evaluators
    if not any(_type(entry) == "kdret.IRMetric" for entry in evaluators if isinstance(entry, Mapping)):
        return
    dataset = _type(cfg, f"{part}_dataloader", "dataset")
    if dataset != "kdret.RetrievalSplit":
        report.error(
            f"{part}_dataloader.dataset",
            "kdret.IRMetric ranks a whole split, and its dataset brings the judgements",
            expected="dict(type='kdret.RetrievalSplit', ...)",
            got=dataset or "nothing",
        )


def _objectives(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    model = cfg.get("model")
    objectives = model.get("objectives") if isinstance(model, Mapping) else None
    for name, objective in objectives.items() if isinstance(objectives, Mapping) else ():
        if isinstance(objective, Mapping):
            yield name, objective


def _type(node: Any, *path: str) -> str:
    """Return the ``type`` at a key path, or nothing if there is none: the core reports malformed configs."""
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    type_ = node.get("type") if isinstance(node, Mapping) else None
    return type_ if isinstance(type_, str) else ""
