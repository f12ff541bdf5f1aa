"""`tools/generation_evidence.py`: the toy tables of the one-step generators."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    """The tool as a module."""
    pytest.importorskip("kdgen")
    monkeypatch.syspath_prepend(ROOT / "tools")
    yield importlib.import_module("generation_evidence")
    for name in ("generation_evidence", "evidence"):
        sys.modules.pop(name, None)


def test_a_table_is_that_of_all_seeds_and_goes_on(tool, tmp_path, capsys):
    """A table over seeds that were trained twice, or once, has an interval that is none."""
    arguments = ["asd", "--share", "0.002", "--seeds", "0,1", "--work-dir", str(tmp_path)]
    assert tool.main(arguments) == 0
    out, err = capsys.readouterr()
    assert err.count(" s\n") == 2
    rows = [
        json.loads((tmp_path / f"asd-share0.002-seed{seed}.json").read_text())["SDS"]["distance"] for seed in (0, 1)
    ]
    assert rows[0] != rows[1]
    assert f"| SDS | {sum(rows) / 2:.1f}"[:9] in out
    assert tool.main(arguments) == 0
    assert "asd, seed" not in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["asd", "swift"], ["--share", "0"], ["--share", "2"]])
def test_slips_are_refused(tool, wrong):
    """A misspelt toy that is passed over leaves a hole in the table."""
    with pytest.raises(SystemExit):
        tool.main(wrong)


def test_the_make_target_calls_it():
    """The documentation names the target."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "evidence-generation-toy:" in text
    assert "tools/generation_evidence.py" in text
