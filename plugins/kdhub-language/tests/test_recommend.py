"""`kdhub recommend`: reading past runs, learning from them, and saying what that is worth."""

import csv
import json
import math

import numpy as np
import pytest

from kdhub import UsageError
from kdlm.commands import recommend as command
from kdlm.past_runs import Run, read_csv, varying
from kdlm.recommend import Recommender, leave_one_out, standing

LOSSES = ("mse", "mi", "none")


def table(noise=0.0, sets=6, seed=0):
    """Runs in which one loss is best on small data sets and another on large ones."""
    random, runs = np.random.default_rng(seed), []
    for place in range(sets):
        size = 100.0 * 10 ** (place % 2)
        for loss in LOSSES:
            for rate in (1.0, 2.0):
                gain = {"mi": 4.0 if size < 500 else 0.0, "mse": 2.0, "none": 0.0}[loss]
                score = 50 + 10 * place + gain + 0.5 * rate + noise * random.normal()
                runs.append(Run(f"set {place}", score, {"loss": loss, "rate": rate, "depth": 4.0}, {"size": size}))
    return varying(runs)


def test_what_all_have_in_common_is_no_choice():
    """A column that never changes makes pipelines longer to read and teaches nothing."""
    assert set(table()[0].choices) == {"loss", "rate"}


def test_standing_does_not_hear_the_level_of_a_data_set():
    """An easy data set would otherwise make all that was tried on it look good."""
    runs = table()
    values = standing(runs)
    for name in {run.data_set for run in runs}:
        own = values[[run.data_set == name for run in runs]]
        assert own.mean() == pytest.approx(0, abs=1e-9)
        assert own.std() == pytest.approx(1)
    same = [Run("a", 1.0, {"x": 1.0}, {}), Run("a", 1.0, {"x": 2.0}, {})]
    assert standing(same).tolist() == [0, 0]


def test_the_best_pipeline_follows_the_data_set():
    """A recommendation that is the same for every data set is a mean, not a recommendation."""
    recommender = Recommender(table())
    assert recommender.best({"size": 100.0}, 1)[0][1]["loss"] == "mi"
    assert recommender.best({"size": 1000.0}, 1)[0][1]["loss"] == "mse"
    assert len(recommender.best({"size": 100.0}, 99)) == 6


def test_leaving_out_shows_whether_it_is_worth_it():
    """Fitted error would praise a forest that has learned its runs by heart."""
    trust = leave_one_out(table())
    assert len(trust) == 6
    assert all(one.regret < one.regret_by_chance for one in trust)
    assert sum(one.regret for one in trust) < sum(one.regret_on_average for one in trust)
    assert all(one.rank > 0.5 for one in trust)
    random = np.random.default_rng(1)
    nothing = [run._replace(score=float(random.normal())) for run in table()]
    assert np.mean([one.rank for one in leave_one_out(nothing)]) < 0.5


def test_one_data_set_is_not_enough():
    """Its figures would say nothing about another."""
    with pytest.raises(UsageError, match="2 data sets"):
        leave_one_out([run for run in table() if run.data_set == "set 0"])
    with pytest.raises(UsageError, match="differ in no choice"):
        Recommender([Run("a", 1.0, {}, {}), Run("b", 2.0, {}, {})])


@pytest.fixture
def runs_csv(tmp_path):
    """The table as a file, with a column that is no choice."""
    path = tmp_path / "runs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "accuracy", "loss", "rate", "size", "date"])
        for number, run in enumerate(table(sets=4)):
            writer.writerow(
                [run.data_set, run.score, run.choices["loss"], run.choices["rate"], run.features["size"], number]
            )
    return path


def test_a_table_of_others_is_read(runs_csv, capsys):
    """The command must say the error before what it recommends."""
    arguments = [
        str(runs_csv),
        "--score",
        "accuracy",
        "--data-set",
        "task",
        "--features",
        "size",
        "--leave-out",
        "date",
    ]
    assert command.main([*arguments, "--new", "size=100", "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert out.index("mean regret") < out.index("1. ")
    assert "loss=mi" in out.splitlines()[-2]
    assert command.main([*arguments, "--new", "size=1000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"][0][1]["loss"] == "mse"
    assert len(found["left_out"]) == 4
    with pytest.raises(UsageError, match="no feature 'sise'"):
        command.main([*arguments, "--new", "sise=1"])


def test_a_data_set_that_nobody_described_is_not_taken_for_an_empty_one(runs_csv, capsys):
    """Without --new, features of 0 once stood for the new data set, and the advice was that for the smallest ones."""
    arguments = [
        str(runs_csv),
        "--score",
        "accuracy",
        "--data-set",
        "task",
        "--features",
        "size",
        "--leave-out",
        "date",
    ]
    assert command.main([*arguments, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert command.main([str(runs_csv), *arguments[1:5], "--leave-out", "date", "size", "--json"]) == 0
    without = json.loads(capsys.readouterr().out)
    assert described["recommended"] == without["recommended"]


def test_a_figure_that_cannot_be_told_is_null(tmp_path, capsys):
    """NaN in a line of JSON stops every other reader."""
    path = tmp_path / "runs.csv"
    path.write_text("task,score,loss\na,1,x\na,1,y\nb,1,z\nb,2,w\n")
    assert command.main([str(path), "--score", "score", "--data-set", "task", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
    assert found["left_out"][0]["rank"] is None


def test_lines_that_cannot_be_read_are_named(tmp_path, runs_csv):
    """A word in a column of numbers is a slip of the hand, somewhere in a thousand lines."""
    with pytest.raises(UsageError, match="no column 'acuracy'.*accuracy"):
        read_csv(runs_csv, "acuracy", "task")
    bad = tmp_path / "bad.csv"
    bad.write_text("task,accuracy,loss\na,1,mse\nb,good,mse\n")
    with pytest.raises(UsageError, match=r"bad\.csv:3.*'accuracy' is no number"):
        read_csv(bad, "accuracy", "task")
    bad.write_text("task,accuracy,loss\n")
    with pytest.raises(UsageError, match="no runs"):
        read_csv(bad, "accuracy", "task")
    bad.write_text("task,accuracy,loss,rate\na,1,,0.5\n")
    assert read_csv(bad, "accuracy", "task")[0].choices == {"rate": 0.5}
    assert not math.isnan(read_csv(bad, "accuracy", "task")[0].score)
