"""`PanelHook` of retrieval: figures by hand; `test_run` has a run whose report holds passages."""

import pytest

from kdhub.errors import UsageError
from kdret.panels.draw import Point, draw_planes, points_of
from kdret.panels.hook import PanelHook
from kdret.panels.queries import QueryResults, changed


def test_the_largest_changes_come_first():
    """Sorted by value and not by change, the table would show the easiest queries."""
    before = QueryResults("nDCG@10", {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.5, "gone": 1.0}, {})
    now = QueryResults("nDCG@10", {"a": 0.4, "b": 1.0, "c": 0.0, "d": 0.5, "new": 1.0}, {})
    assert changed(now, before, 5) == (["a", "b"], ["c"])
    assert changed(now, before, 1) == (["a"], ["c"])


def test_results_survive_a_restart(tmp_path):
    """A resumed run compares with what the student found before its first start."""
    found = QueryResults("nDCG@10", {"q": 0.25}, {"q": ["d1", "d2"]})
    found.write(tmp_path / "queries.json")
    assert QueryResults.read(tmp_path / "queries.json") == found
    assert QueryResults.read(tmp_path / "other.json") is None


def test_points_are_those_of_the_card(tmp_path):
    """A teacher without a figure has no dot; drawn at zero it would look free."""
    run = {
        "baselines": {"student": {"m": 0.2, "active_document": 90.0}, "teachers": {"teacher": {"m": 0.6}, "b": {}}},
        "evaluations": [{"metrics": {"m": 0.3}}, {"metrics": {"m": 0.5, "active_document": 30.0}}],
    }
    alone = {"evaluations": [{"metrics": {"m": 0.4, "active_document": 60.0}}]}
    points = list(points_of(run, alone, "active_document", "m"))
    assert points == [Point("student before", 90, 0.2), Point("student alone", 60, 0.4), Point("student", 30, 0.5)]
    draw_planes({"non-zeros": points}, "m", tmp_path / "a.svg")
    assert "student before" in (tmp_path / "a.svg").read_text()


def test_another_evaluator_is_refused_at_once():
    """An hour of training, and then no table."""

    class Runner:
        val_evaluator = None

    with pytest.raises(UsageError, match=r"what kdret\.IRMetric finds"):
        PanelHook().before_train(Runner())


@pytest.mark.parametrize("name", ["count", "passages", "characters"])
def test_numbers_are_checked_at_once(name):
    """No rows would be shown without a word."""
    with pytest.raises(UsageError, match=f"bad {name}"):
        PanelHook(**{name: 0})
