"""The benchmarks: each can be called, those that reach into the engine run, and they stop where variants do not compute the same."""

import ast
import importlib
import json
import logging
import random
import runpy
import statistics
import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from kdhub.store import StoreReader

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
    assert {share["kind"] for share in found["added"].values()} == {"range of 1"}


@pytest.fixture(params=["CamVid logits", "MiniLM embeddings"])
def recipe(request, monkeypatch, tmp_path):
    """Both recipes of the benchmarks of the store, which differ in whether samples are augmented, on toy data."""
    monkeypatch.syspath_prepend(FOLDER.parent / "tests" / "engine")
    tiny = importlib.import_module("tiny")

    def load(_name):
        cfg = tiny.config(tmp_path / "run")
        cfg.model = tiny.distiller(checkpoint=None)  # a teacher that was not trained yet
        cfg.train_dataloader.dataset.size = 24
        return cfg

    for user in ("caching", "stored_training"):
        monkeypatch.setattr(importlib.import_module(user), "load", load)
    return request.param


def test_writing_is_measured(recipe, tmp_path):
    """This one broke unseen when what it measures got another argument."""
    caching = importlib.import_module("caching")
    source, batches = caching.source_of(recipe)
    found = caching.repetition(source, batches, tmp_path, random.Random(0))
    assert set(found) == {"dropped", *caching.PRECISIONS, *(f"in the writer, {one}" for one in caching.PRECISIONS)}
    assert all(seconds > 0 for seconds in found.values())


def test_training_from_a_store_is_measured(recipe, tmp_path):
    """It takes its data from inside of the engine, where names change."""
    rounds = importlib.import_module("stored_training").measure(recipe, 2, tmp_path)
    assert len(rounds) == 2
    assert {"live", "ready", "store float32", "store float16", "answer float32", "answer float16"} == set(rounds[0])


def test_reading_is_measured(tmp_path):
    """Readers are processes of their own, whose death the benchmark would wait for."""
    store = importlib.import_module("store")
    store.write(tmp_path / "store", (3,), 64, 2, "float32")
    store.raw_array(tmp_path / "store", StoreReader(tmp_path / "store"), 64)
    found = store.compete(tmp_path / "store", 64, 8, 3, 1)
    assert all(value > 0 for value in found.values())


def test_mining_finds_what_sorting_finds(tmp_path):
    """A benchmark of mining whose negatives nobody looks at would reward whoever finds the wrong ones."""
    mining = importlib.import_module("mining")
    one = mining.collection(300, 20)
    data = mining.read_back(one, tmp_path)
    documents, queries = (one.encoder.encode_document(list(texts.values())) for texts in (one.documents, one.queries))
    scores = queries @ documents.T
    for task, margin in (("best", -10.0), ("margin", 0.05)):
        found = mining.kdret(one, data, 5, task)
        for row, own in enumerate(scores):
            limit = own[row] - margin * abs(own[row])
            best = [place for place in (-own).argsort(kind="stable") if place != row and own[place] <= limit][:5]
            assert found[f"q{row}"] == {f"d{place}" for place in best}
    mining.require_same("best", {"kdret": found, "other": found})
    with pytest.raises(SystemExit, match="find other negatives"):
        mining.require_same("best", {"kdret": found, "other": {query: {"d0"} for query in found}})


@pytest.fixture
def own_loggers(monkeypatch):
    """Loggers of mmengine for one test: a script quiets them, and a log that nobody closes is a warning in a later test."""
    loggers = {}
    monkeypatch.setattr(MMLogger, "_instance_dict", loggers)
    monkeypatch.setattr(logging, "disable", lambda level: None)
    yield
    for handler in (handler for logger in loggers.values() for handler in logger.handlers):
        handler.close()


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("own_loggers")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mining", ["--documents", "300", "--queries", "20", "--negatives", "5", "--rounds", "1"]),
        ("retrieval_step", ["--steps", "5", "--batch", "2", "--rounds", "1", "--layers", "1", "--width", "32"]),
    ],
)
def test_sentence_transformers_is_measured_or_the_missing_package_named(name, options, monkeypatch, capsys):
    """Its trainer and its mining need `datasets`; a traceback out of a library does not tell which extra has it."""
    script = importlib.import_module(name)
    if name == "mining":  # a process for each variant of each task
        monkeypatch.setattr(script, "TASKS", {"margin": script.TASKS["margin"]})
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *options, "--json"])
    try:
        importlib.import_module("datasets")
    except ImportError:
        with pytest.raises(SystemExit, match=r"No module named 'datasets': pip install '.\[bench\]'"):
            script.main()
    else:
        script.main()
        assert json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_benchmark_stops_if_its_variants_differ():
    """A store that answers with something else is fast for nothing, and its time must not be quoted."""
    losses = importlib.import_module("losses")
    tolerances = importlib.import_module("stored_training").TOLERANCES
    found = {"live": 1.0, "ready": 1.0, "store float32": 1.00001, "store float16": 1.001}
    losses.require_equal("alike", found, "ready", tolerances)
    for other in (1.001, float("nan")):
        with pytest.raises(SystemExit, match="unlike: the losses differ"):
            losses.require_equal("unlike", {**found, "store float32": other}, "ready", tolerances)


def test_the_hand_written_step_is_held_to_the_same_losses(monkeypatch):
    """Kdhub with a loss left out would be found faster than the loop that computes it."""
    step = importlib.import_module("step")
    assert step.time_ratio(2, 4, 64)["ratio"] > 0
    honest = step.handwritten_step()
    monkeypatch.setitem(step.STEPS, "handwritten", lambda: lambda data: honest(data) * 1.001)
    with pytest.raises(SystemExit, match="pair 0: the losses differ"):
        step.time_ratio(2, 4, 64)


@pytest.mark.parametrize(
    ("rows", "low", "high", "kind"),
    [([3.0, 1.0, 2.0], 1.0, 3.0, "range of 3"), ([*range(9)], 0, 8, "range of 9"), ([5.0], 5.0, 5.0, "range of 1")],
)
def test_few_rounds_are_quoted_with_their_range(rows, low, high, kind):
    """A bootstrap over three rounds never leaves their range, covers 75 % of all cases, and would be printed as 95 %."""
    figures = importlib.import_module("figures")
    found = figures.with_spread(rows, statistics.median)
    assert found == {"value": statistics.median(rows), "low": low, "high": high, "kind": kind}
    assert f"({kind} {low:.1f} to {high:.1f})" in figures.told(found, ".1f")


def test_many_rounds_are_quoted_with_an_interval():
    """The range of many rounds grows with their number; what is wanted is how well the figure is known."""
    figures = importlib.import_module("figures")
    rows = [float(index) for index in range(100)]
    found = figures.with_spread(rows, statistics.fmean)
    # the mean of 100 equally spaced numbers has a standard error of 28.87 / 10, so 49.5 -+ 1.96 * 2.887
    assert (found["low"], found["high"]) == pytest.approx((43.84, 55.16), abs=0.6)
    assert found["kind"] == figures.with_spread(rows[:10], statistics.fmean)["kind"] == "95 % interval"


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
