"""`kdhub tune`: a study that can be trusted, continued and shared."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.config import Config

from kdhub.cli.main import main
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.train import RunResult
from kdhub.engine.tune import study as study_module
from kdhub.engine.tune.fitness import objective, require_own_validation, without_test
from kdhub.engine.tune.outcome import best_trial, draw, rows, told
from kdhub.engine.tune.space import Dimension, parse_space
from kdhub.engine.tune.study import Goal, finished, open_study, options_of, tune
from kdhub.errors import UsageError

pytest.importorskip("optuna")
LR = "optim_wrapper.optimizer.lr"
HOT = "model.objectives.logits.loss.temperature"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("a.b=0.1:10:log", Dimension("a.b", "0.1:10:log", 0.1, 10.0, log=True)),
        ("a=1:8", Dimension("a", "1:8", 1, 8)),
        ("a=1e-4:1e-1:log", Dimension("a", "1e-4:1e-1:log", 1e-4, 0.1, log=True)),
        ("a=1,2,4", Dimension("a", "1,2,4", choices=(1, 2, 4))),
        ("a=[1,2],[3]", Dimension("a", "[1,2],[3]", choices=([1, 2], [3]))),
        ("a=kdhub.MSE,None", Dimension("a", "kdhub.MSE,None", choices=("kdhub.MSE", None))),
    ],
)
def test_what_a_space_says(item: str, expected: Dimension) -> None:
    """A range that is read as a choice tries its ends only, and a whole number may be no fraction."""
    (found,) = parse_space([item])
    assert found == expected
    assert isinstance(found.first, type(expected.first))


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["a"], "not a dimension"),
        (["a=3"], "neither a range nor several choices"),
        (["a=10:1"], "the range is empty"),
        (["a=0:1:log"], "begins above 0"),
        (["a=1:2:lin"], "unknown scale 'lin'"),
        (["a=1:2", "a=1,2"], "there twice"),
        (["teacher:a=1:2"], "tune the predecessor's own config first"),
    ],
)
def test_a_space_that_means_nothing(items: list[str], words: str) -> None:
    """A slip in a range would be searched for a night."""
    with pytest.raises(UsageError, match=rf"^--space.*{words}"):
        parse_space(items)


def test_the_metric_and_its_direction(tmp_path: Path) -> None:
    """A loss that is maximised gives the worst of all trials as the best."""
    cfg = tiny.config(tmp_path)
    assert objective(cfg, "tiny/accuracy", None) == ("tiny/accuracy", "maximize")
    assert objective(cfg, "val/loss", None) == ("val/loss", "minimize")
    assert objective(cfg, "FID", "minimize") == ("FID", "minimize")
    with pytest.raises(UsageError, match=r"--direction: nobody says.*'FID'.*maximize or minimize"):
        objective(cfg, "FID", None)
    with pytest.raises(UsageError, match="--metric: nobody says"):
        objective(cfg, None, None)
    cfg.default_hooks = {"checkpoint": {"save_best": "FID", "rule": "less"}}
    assert objective(cfg, None, None) == ("FID", "minimize")
    assert objective(cfg, "tiny/accuracy", None) == ("tiny/accuracy", "maximize")
    cfg.default_hooks = {"checkpoint": {"save_best": "FID", "rule": "max"}}
    with pytest.raises(UsageError, match=r"default_hooks\.checkpoint\.rule: no such rule: 'max'"):
        objective(cfg, None, None)
    with pytest.raises(UsageError, match="no val_dataloader and no val_evaluator"):
        objective({}, "a", None)


def test_test_data_stay_out(tmp_path: Path) -> None:
    """Tuned on the test, any method wins; a pipeline of its own makes no other data."""
    cfg = tiny.config(tmp_path)
    require_own_validation(cfg)
    cfg.test_dataloader = dict(cfg.val_dataloader, dataset=dict(cfg.val_dataloader.dataset, seed=2))
    require_own_validation(cfg)
    cfg.test_dataloader = dict(cfg.val_dataloader, dataset=dict(cfg.val_dataloader.dataset, pipeline=["x"]))
    with pytest.raises(UsageError, match="validates on its test data.*--validate-on-test"):
        require_own_validation(cfg)
    own = dict(cfg.val_dataloader.dataset)
    for val, test, meet in (
        ({**own, "indices": 200}, own, True),
        ({**own, "filter_cfg": {"min_size": 1}}, {**own, "backend_args": None}, True),
        ({"type": "RepeatDataset", "dataset": own, "times": 2}, own, True),
        (own, {"type": "ConcatDataset", "datasets": [{**own, "seed": 2}, own]}, True),
        ({**own, "indices": [0, 1]}, {**own, "indices": 2}, True),
        ({**own, "indices": [0, 1]}, {**own, "indices": [1, 2]}, True),
        ({**own, "indices": [0, 1]}, {**own, "indices": [2, 3]}, False),
        ({**own, "indices": 100}, {**own, "indices": -100}, False),
    ):
        cfg.val_dataloader.dataset, cfg.test_dataloader.dataset = val, test
        if meet:
            with pytest.raises(UsageError, match="validates on its test data"):
                require_own_validation(cfg)
        else:
            require_own_validation(cfg)
    without_test(cfg)
    assert "test_dataloader" not in cfg


def goal(trials: int, space: tuple[str, ...] = (f"{LR}=1e-4:1:log",), direction: str = "maximize") -> Goal:
    return Goal("tiny/accuracy", direction, parse_space(space), trials, seed=0)


def no_check(cfg: Config) -> None:
    pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A full or read-only disk was taken for another process of the study, which was waited for, without end."""
    cfg = tiny.config(tmp_path / "study", predecessors={"first": {"config": "first.py"}})
    (tmp_path / "study/predecessors/.lock").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"cannot write \.lock"):
        tune(cfg, goal(1), no_check)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    """Configs that would have been trained; an lr of 0.01 is the best."""
    configs: list[Config] = []

    def train(cfg: Config, **options: Any) -> RunResult:
        configs.append(cfg)
        return RunResult(
            Path(cfg.work_dir), None, None, {"tiny/accuracy": 1 - abs(0.01 - cfg.optim_wrapper.optimizer.lr)}
        )

    monkeypatch.setattr(study_module, "train", train)
    return configs


def test_a_study_goes_on_where_it_ended(runs: list[Config], tmp_path: Path) -> None:
    """A night of trials is lost if the next command begins anew, or mixes in another search."""
    cfg = tiny.config(tmp_path / "study")
    cfg.test_dataloader = cfg.val_dataloader
    tune(cfg, goal(3), no_check)
    study = tune(cfg, goal(5), no_check)
    assert len(runs) == len(finished(study)) == 5
    assert [Path(one.work_dir).relative_to(tmp_path) for one in runs[:2]] == [
        Path("study/trials/0"),
        Path("study/trials/1"),
    ]
    assert not any("test_dataloader" in one for one in runs)
    assert cfg.optim_wrapper.optimizer.lr == 0.1
    lrs = [one.optim_wrapper.optimizer.lr for one in runs]
    assert len(set(lrs)) == 5
    assert best_trial(study).params[LR] == min(lrs, key=lambda lr: abs(0.01 - lr))
    with pytest.raises(UsageError, match=rf"holds another study.*--space {LR}"):
        tune(cfg, goal(5, (f"{LR}=1e-3:1:log",)), no_check)
    with pytest.raises(UsageError, match=r"holds another study.*differs in train_cfg"):
        tune(Config({**cfg, "train_cfg": {"by_epoch": False, "max_iters": 7}}), goal(5), no_check)


def test_processes_share_a_study(runs: list[Config], tmp_path: Path) -> None:
    """Two processes that do not see each other's trials do the same work twice."""
    cfg = tiny.config(tmp_path / "study")
    tune(cfg, goal(2), no_check)
    other = open_study(tmp_path / "study", "maximize")
    trial = other.ask()
    trial.suggest_float(LR, 1e-4, 1, log=True)
    other.tell(trial, 0.5)
    tune(cfg, goal(4), no_check)
    assert len(runs) == 3


def test_a_stopped_trial_is_tried_again(runs: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the tenth trial must cost that trial only, and leave no gap in what was tried."""
    cfg = tiny.config(tmp_path / "study")
    tune(cfg, goal(1), no_check)
    stopped = []

    def interrupted(own: Config, **options: Any) -> RunResult:
        stopped.append(own.optim_wrapper.optimizer.lr)
        raise Interrupted("stopped")

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(study_module, "train", interrupted)
        tune(cfg, goal(2), no_check)
    study = tune(cfg, goal(2), no_check)
    assert len(finished(study)) == 2
    assert runs[-1].optim_wrapper.optimizer.lr == stopped[0]


def test_ctrl_c_at_the_end_of_a_trial_begins_no_other(
    runs: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the last evaluation stops nothing of that trial; it was forgotten, and the next trial began."""
    cfg = tiny.config(tmp_path / "study")

    def at_its_end(own: Config, **options: Any) -> RunResult:
        return RunResult(Path(own.work_dir), None, None, {"tiny/accuracy": 0.5}, signalled=True)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(study_module, "train", at_its_end)
        tune(cfg, goal(3), no_check)
    assert len(finished(tune(cfg, goal(2), no_check))) == 2
    assert len(runs) == 1


def test_a_full_disk_is_no_result(runs: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full disk the trials that were left failed in seconds, and counted as tried."""
    cfg = tiny.config(tmp_path / "study")
    tune(cfg, goal(1), no_check)
    full = []

    def no_space(own: Config, **options: Any) -> RunResult:
        full.append(own.optim_wrapper.optimizer.lr)
        raise UsageError("the disk is full") from OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UsageError, match="the disk is full"):
        patch.setattr(study_module, "train", no_space)
        tune(cfg, goal(4), no_check)
    study = tune(cfg, goal(2), no_check)
    assert len(full) == 1
    assert len(finished(study)) == 2
    assert runs[-1].optim_wrapper.optimizer.lr == full[0]


def test_trials_that_fail(runs: list[Config], tmp_path: Path) -> None:
    """A learning rate that diverges is a result; a config that never trains is a mistake, to be told at once."""
    cfg = tiny.config(tmp_path / "study")
    large = []

    def refuse_large(own: Config) -> None:
        if own.optim_wrapper.optimizer.lr > 0.01 or not finished_any:
            large.append(own)
            raise UsageError("the loss is NaN")

    finished_any: list[int] = []
    with pytest.raises(UsageError, match="the loss is NaN"):
        tune(cfg, goal(6), refuse_large)
    tune(cfg, goal(1), no_check)
    finished_any.append(1)
    study = tune(cfg, goal(6), refuse_large)
    table = list(rows(study, goal(6)))
    assert len(table) == 6
    assert [row[-1] for row in table].count("the loss is NaN") == len(large) - 1 > 0
    assert table[-1][-1] == "the loss is NaN"
    monkeyed = goal(7)
    with pytest.raises(UsageError, match=r"reports no 'acc'.*tiny/accuracy"):
        tune(tiny.config(tmp_path / "other"), Goal("acc", "maximize", monkeyed.space, 1), no_check)


def test_what_a_study_tells(runs: list[Config], tmp_path: Path) -> None:
    """A table without its picture, or a best trial that cannot be repeated, decides nothing."""
    space = (
        f"{LR}=1e-4:1:log",
        f"{HOT}=1,2,4",
        "train_cfg.val_interval=1:3",
        "train_dataloader.dataset.size=[1,2],[3,4]",
    )
    cfg = tiny.config(tmp_path / "study", model=tiny.distiller())
    wanted = goal(4, space)
    study = tune(cfg, wanted, no_check)
    picture = draw(study, wanted, tmp_path / "study")
    assert picture is not None
    svg = picture.read_text()
    assert ET.fromstring(svg).tag.endswith("svg")
    assert HOT in svg
    values = told(study, wanted, tmp_path / "study")
    assert json.loads(json.dumps(values)) == values
    best = values["best"]
    assert best["value"] == max(one["value"] for one in values["trials"])
    assert best["options"][0] == f"{LR}={best['params'][LR]!r}"
    assert options_of(wanted.space, best["params"])[3] in (
        "train_dataloader.dataset.size=[1,2]",
        "train_dataloader.dataset.size=[3,4]",
    )
    assert Path(best["work_dir"]).parent == tmp_path / "study/trials"


def test_trials_train(tmp_path: Path) -> None:
    """All of the above with real runs: their students stay, and the search is of what was trained."""
    cfg = tiny.config(tmp_path / "study", model=tiny.distiller())
    wanted = goal(2, (f"{LR}=0.01,0.5", f"{HOT}=1.0:4"))
    study = tune(cfg, wanted, no_check)
    for trial in finished(study):
        folder = tmp_path / "study/trials" / str(trial.number)
        card = json.loads((folder / "run.json").read_text())
        assert card["evaluations"][-1]["metrics"]["tiny/accuracy"] == trial.value
        assert f"lr={trial.params[LR]}" in (folder / "config.py").read_text()
        assert (folder / "student").is_dir()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt key would be searched without effect; what comes out must be typed again with one paste."""
    monkeypatch.chdir(tmp_path)
    cfg = tiny.config("work_dirs/c", custom_imports={"imports": ["tiny"]})
    cfg.pop("work_dir")
    cfg.test_dataloader = cfg.val_dataloader
    cfg.dump("c.py")
    assert main(["tune", "c.py", "--metric", "tiny/accuracy", "--space", "optim_wrapper.optimizer.lrr=0.1:1"]) == 2
    assert "--space optim_wrapper.optimizer.lrr: there is no 'lrr'" in (said := capsys.readouterr().err)
    assert f"did you mean '{LR}'" in said
    command = ["tune", "c.py", "--metric", "tiny/accuracy", "--space", f"{LR}=0.1,0.2", "--trials", "1", "--seed", "0"]
    assert main(command) == 2
    assert "validates on its test data" in capsys.readouterr().err
    assert main([*command, "--validate-on-test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TRIAL", LR, "tiny/accuracy"]
    assert lines[-2].startswith("best:    kdhub train c.py --cfg-options optim_wrapper.optimizer.lr=0.")
    # without the file of a loss of one's own the command that is told would not run
    Path("my_loss.py").write_text("")
    assert main([*command, "--validate-on-test", "-p", "./my_loss.py"]) == 0
    assert "best:    kdhub train c.py -p ./my_loss.py --cfg-options" in capsys.readouterr().out
    assert Path("work_dirs/c-tune/tuning.svg").is_file()
    assert main([*command, "--validate-on-test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"]["number"] == 0
