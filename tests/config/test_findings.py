"""Findings and reports: one record a finding, errors first, each once."""

import json

from kdhub.config import Finding, Report
from kdhub.errors import UsageError


def test_a_finding_reads_as_one_line_with_everything():
    """A line that leaves out the place or the remedy sends the user to the source."""
    report = Report()
    report.error("model.a", "unknown key 'a'", expected="b", got="a", near=["b"], fix="write b")
    assert report.findings[0].line() == (
        "error: model.a: unknown key 'a' (expected b, got a); did you mean 'b'? -> write b"
    )


def test_a_finding_about_the_whole_has_no_path():
    """An empty path must not print as a stray colon."""
    assert Finding("warning", "", "odd").line() == "warning: odd"


def test_errors_come_first_and_each_finding_once():
    """Warnings above the error that matters are what people stop reading at."""
    report = Report()
    report.warn("a", "first")
    report.error("b", "second")
    report.error("b", "second")
    assert [(finding.level, finding.path) for finding in report.findings] == [("error", "b"), ("warning", "a")]
    assert not report.ok


def test_warnings_alone_are_ok():
    """Warnings must not stop training."""
    report = Report()
    report.warn("a", "odd")
    assert report.ok


def test_a_finding_keeps_what_an_error_would_have_said():
    """The same mistake must read alike in `check` and in training."""
    error = UsageError("wrong", where="elsewhere", expected="x", got="y", near=["z"], fix="do")
    finding = Finding.of(error, "model.a")
    assert finding == Finding("error", "model.a", "wrong", "x", "y", ("z",), "do")


def test_a_finding_is_json():
    """Editors and CI read findings as data."""
    finding = Finding("error", "a", "m", near=("x",), plugin="kdseg")
    assert json.loads(json.dumps(finding.as_json())) == {
        "level": "error",
        "path": "a",
        "message": "m",
        "expected": None,
        "got": None,
        "near": ["x"],
        "fix": None,
        "plugin": "kdseg",
    }
