"""The benchmarks: each runs as its page says, and stops where its variants do not compute the same."""

import ast
import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    """Let a script import its neighbours, and forget them afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    yield
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_says_what_it_measures_and_how_to_call_it(script, monkeypatch, capsys):
    """A script that nobody runs in CI breaks with the first renamed import, and is found broken when a figure is doubted."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    assert f"python benchmarks/{script.name}" in docstring.split("Usage: ")[1]
    if script.stem == "peers":
        pytest.importorskip("torchdistill", reason="needs the extra 'bench'")
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(script), run_name="__main__")
    assert not stopped.value.code
    assert "--json" in capsys.readouterr().out


def test_a_benchmark_runs(monkeypatch, capsys, tmp_path):
    """The option parser of a script works long after the script itself has stopped working."""
    resume = importlib.import_module("resume")
    monkeypatch.setattr(resume, "INTERVAL", 12)
    options = ["--rounds", "1", "--batch", "2", "--side", "32", "--folder", str(tmp_path), "--json"]
    monkeypatch.setattr(sys, "argv", ["resume.py", *options])
    resume.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["added"]) == {"interval", "iterations", "checkpoint"}
    assert all(ms > 0 for ms in found["ms"].values())


def test_a_benchmark_stops_if_its_variants_differ():
    """A store that answers with something else is fast for nothing, and its time must not be quoted."""
    stored_training = importlib.import_module("stored_training")
    losses = {"live": 1.0, "ready": 1.0, "store float32": 1.00001, "store float16": 1.001}
    stored_training.require_equal("alike", losses)
    with pytest.raises(SystemExit, match="the losses differ"):
        stored_training.require_equal("unlike", {**losses, "store float32": 1.001})


def test_what_a_store_saves():
    """With numerator and floor exchanged, a store that saves nothing would be quoted as perfect."""
    stored_training = importlib.import_module("stored_training")
    rounds = [{"live": 10.0 + noise, "store": 7.0 + noise, "ready": 6.0 + noise} for noise in (0.0, 3.0, 1.0)]
    assert stored_training.saved("store")(rounds) == pytest.approx(0.75)


@pytest.mark.parametrize("name", ["CamVid logits", "MiniLM embeddings"])
def test_missing_data_are_named_with_what_makes_them(name, monkeypatch, tmp_path):
    """A traceback out of a data set does not tell which command prepares it."""
    recipes = importlib.import_module("recipes")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no data/\w+ in .*prepare_data.py (camvid|cranfield)"):
        recipes.load(name)
