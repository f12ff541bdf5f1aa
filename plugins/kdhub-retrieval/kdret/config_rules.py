"""Rules between parts of a retrieval config that no signature can express."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kdhub.api import Rule, check_numbers

if TYPE_CHECKING:
    from kdhub.api import Report

_SCORED = ("kdret.ScoredLists", "kdret.ScoredPairs")
_ON_LISTS = ("kdret.MarginMSE", "kdret.ListwiseKL", "kdret.RankNet")
_NEED_PAIRS = ("score", "similarity")
_REFUSED = "its constructor would refuse it once the models are loaded"
_NUMBERS = (
    *(
        rule
        for model in ("SentenceEncoder", "SparseEncoder", "MultiVectorEncoder", "CrossEncoder")
        for rule in (
            Rule(f"kdret.{model}:max_length", 1, _REFUSED),
            Rule(f"kdret.{model}:dropout", 0, _REFUSED),
            Rule(f"kdret.{model}:score_scale", 0, _REFUSED, open=True),
        )
    ),
    Rule("kdret.FLOPS:threshold", 0, _REFUSED),
    Rule("kdret.L1:threshold", 0, _REFUSED),
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
    if loss in _ON_LISTS and cached and dataset not in _SCORED:
        report.error(
            f"{path}.batch.labels",
            f"{dataset} gives no cached scores",
            expected="train_dataloader.dataset.type='kdret.ScoredLists', or 'kdret.ScoredPairs'",
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
    for path, fix in _cross_encoders(cfg, part):
        report.error(
            path,
            "kdret.IRMetric ranks by the vectors of texts, and a cross-encoder has none",
            fix=fix,
        )
    dataset = _type(cfg, f"{part}_dataloader", "dataset")
    if dataset != "kdret.RetrievalSplit":
        report.error(
            f"{part}_dataloader.dataset",
            "kdret.IRMetric ranks a whole split, and its dataset brings the judgements",
            expected="dict(type='kdret.RetrievalSplit', ...)",
            got=dataset or "nothing",
        )


def _cross_encoders(cfg: Mapping[str, Any], part: str) -> Iterator[tuple[str, str]]:
    """Yield the models that an evaluation would ask for vectors that they do not have, and what to do."""
    model = cfg.get("model")
    if not isinstance(model, Mapping):
        return
    for path, owner in (("model", cfg), ("model.student", model)):
        if _type(owner, path.rpartition(".")[2]) == "kdret.CrossEncoder":
            yield path, f"leave out {part}_dataloader, {part}_cfg and {part}_evaluator"
    hooks = cfg.get("default_hooks")
    baseline = hooks.get("baseline", {}) if isinstance(hooks, Mapping) else {}
    if part != "val" or baseline is None or (isinstance(baseline, Mapping) and baseline.get("teacher") is False):
        return
    several = model.get("teachers")
    teachers = {f"teachers.{name}": one for name, one in several.items()} if isinstance(several, Mapping) else {}
    for name, teacher in ({"teacher": model.get("teacher")} | teachers).items():
        if _type({"teacher": teacher}, "teacher") == "kdhub.ModelTeacher" and (
            _type(teacher, "model") == "kdret.CrossEncoder"
        ):
            yield f"model.{name}", "set default_hooks=dict(baseline=dict(teacher=False))"


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
