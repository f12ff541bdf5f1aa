"""check, probe, train, test and report on a config that runs in a moment."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from kdhub.engine.train import RunResult

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_check_tells_all_findings_and_its_verdict(kdhub, toy_config):
    """CI reads the exit code, people read the lines, editors the JSON."""
    outcome = kdhub("check", toy_config)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == f"{toy_config}: no errors, 2 warnings"
    text = toy_config.read_text().replace("batch_size", "batchsize").replace("max_epochs", "max_epoch")
    toy_config.write_text(text)
    outcome = kdhub("check", toy_config)
    assert outcome.code == 1
    assert "train_dataloader.batchsize: unknown key 'batchsize'" in outcome.out
    assert "train_cfg.max_epoch: unknown key" in outcome.out
    told = json.loads(kdhub("check", toy_config, "--json").out)
    assert not told["ok"]
    assert "train_cfg.max_epoch" in [finding["path"] for finding in told["findings"]]


def test_check_in_depth_runs_custom_imports(kdhub, toy_config):
    """Types that the config's own modules register are known only then."""
    right = toy_config.read_text()
    toy_config.write_text(right.replace("'ToyImages'", "'ToyImage'"))
    assert kdhub("check", toy_config).code == 0
    outcome = kdhub("check", toy_config, "--deep")
    assert outcome.code == 1
    assert "did you mean 'ToyImages'" in outcome.out
    toy_config.write_text(right)
    assert kdhub("check", toy_config, "--deep").code == 0


def test_training_checks_in_depth(kdhub, toy_config):
    """The data set would be built after the teacher was loaded, and of two mistakes only the first would be told."""
    text = toy_config.read_text().replace("'ToyImages'", "'ToyImage'").replace("max_epochs", "max_epoch")
    toy_config.write_text(text)
    outcome = kdhub("train", toy_config)
    assert outcome.code == 2
    assert "did you mean 'ToyImages'" in outcome.err
    assert "train_cfg.max_epoch: unknown key" in outcome.err


def test_check_takes_overrides(kdhub, toy_config):
    """What is trained is the config with its overrides, so that is what is checked."""
    loss = "model.objectives.logits.loss.type"
    assert kdhub("check", toy_config, "--cfg-options", f"{loss}=kdhub.Cosin", "train_cfg.max_epochs=2").code == 1
    outcome = kdhub("check", toy_config, "--cfg-options", "train_cfg.max_epoch=2")
    assert outcome.code == 1
    assert "did you mean 'train_cfg.max_epochs'" in outcome.out


def test_check_warns_of_plugins_that_did_not_load(kdhub, toy_config, install_fake):
    """A config that does not need the plugin runs, and the user still wants to know."""
    from kdhub.plugins import Switches
    from kdhub.testing import isolated_plugins

    install_fake(
        "kdhub-sick",
        files={"kdsick/__init__.py": "", "kdsick/plugin.py": "1 / 0"},
        entry_points={"kdsick": "kdsick.plugin"},
    )
    with isolated_plugins(installed=True, switches=Switches()):
        outcome = kdhub("check", toy_config)
    assert outcome.code == 0
    assert "kdsick (broken)" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_switch_that_names_no_plugin_is_told(kdhub, monkeypatch):
    """KDHUB_PLUGINS=kdrett leaves every plugin out, and without a word that looks like an empty installation."""
    monkeypatch.setenv("KDHUB_PLUGINS", "kdrett")
    outcome = kdhub("plugins", "list")
    assert outcome.code == 0
    assert "'kdrett', which is not installed; did you mean 'kdret'" in outcome.err


def test_train_alone_compares_the_two(kdhub, toy_config):
    """Who distils wants to read at the end whether it helped, not to open two folders."""
    evaluated = "val_dataloader = loader\nval_cfg = dict()\nval_evaluator = dict(type='Samples')\n"
    toy_config.write_text(f"{toy_config.read_text()}{evaluated}")
    outcome = kdhub("train", toy_config, "--alone", "--work-dir", "work")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].endswith("-> --cfg-options randomness.seed=0")
    outcome = kdhub("train", toy_config, "--alone", "--work-dir", "work", "--cfg-options", "randomness.seed=0")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["METRIC", "ALONE", "DISTILLED", "GAINED"]
    assert lines[1].split() == ["samples", "4", "4", "+0"]
    assert lines[2].startswith("student: ")
    assert Path("work/alone/student").is_dir()


def test_probe_shows_what_can_be_tapped(kdhub, toy_config):
    """A path that is guessed wrong costs a start of the run; this is where to look it up."""
    told = json.loads(kdhub("probe", toy_config, "--json").out)
    assert set(told) == {"student", "teacher"}
    student = {row["path"]: row for row in told["student"]}
    assert student["head"] == {"path": "head", "type": "Conv2d", "calls": 1, "outputs": ["(2, 4, 8, 8) float32"]}
    assert "(2, 16, 8, 8) float32" in {row["path"]: row for row in told["teacher"]}["backbone"]["outputs"]


def test_probe_needs_no_objectives(kdhub, toy_config):
    """It is asked before the first objective can be written, so wrong paths must not stop it."""
    toy_config.write_text(toy_config.read_text().replace("student='head'", "student='haed'"))
    outcome = kdhub("probe", toy_config, "--side", "teacher", "--pattern", "head*")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "teacher:"
    assert [line.split()[0] for line in outcome.out.splitlines()[2:] if line] == ["head"]


def test_probe_says_what_a_pattern_missed(kdhub, toy_config):
    """An empty table would read as "nothing can be tapped"."""
    outcome = kdhub("probe", toy_config, "--pattern", "bakbone*")
    assert outcome.code == 2
    assert "did you mean 'backbone'" in outcome.err


def test_probe_needs_no_weights(kdhub, toy_config):
    """Paths and shapes are looked up before anything is trained, the teacher included."""
    text = toy_config.read_text().replace(
        "own_weights=True", "checkpoint='work_dirs/teacher/student/model.safetensors'"
    )
    toy_config.write_text(text)
    told = json.loads(kdhub("probe", toy_config, "--json").out)
    assert "(2, 16, 8, 8) float32" in {row["path"]: row for row in told["teacher"]}["backbone"]["outputs"]
    toy_config.write_text(text.replace("kdhub.testing.toys.ToySegmentor', width=16", "absent.Teacher'"))
    assert set(json.loads(kdhub("probe", toy_config, "--side", "student", "--json").out)) == {"student"}


def test_probe_of_a_plain_model(kdhub, toy_config):
    """A config without a distiller is where one starts."""
    model = "model = dict(type='kdhub.testing.toys.ToySegmentor')\nrest = dict("
    toy_config.write_text(toy_config.read_text().replace("model = dict(\n", f"{model}\n", 1))
    assert set(json.loads(kdhub("probe", toy_config, "--json").out)) == {"student"}
    assert "no live teacher" in kdhub("probe", toy_config, "--side", "teacher").err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("length=4", "length=0"), "the data set is empty"),
        (("_dataloader = loader", "_loader = loader"), "the config has no data"),
    ],
)
def test_probe_without_data_says_so(kdhub, toy_config, change, words):
    """One batch is all it needs, and there is none."""
    toy_config.write_text(toy_config.read_text().replace(*change))
    outcome = kdhub("probe", toy_config)
    assert outcome.code == 2
    assert words in outcome.err


def test_train_then_test_then_report(kdhub, toy_config):
    """The way of every user of mmengine's projects, under the names they know."""
    outcome = kdhub("train", toy_config)
    assert outcome.code == 0, outcome.err
    work_dir = toy_config.parent / "work_dirs/toy_config"
    assert f"student: {work_dir / 'student'}" in outcome.out
    outcome = kdhub("test", toy_config, work_dir / "epoch_1.pth", "--json", "--out", "found/metrics.json")
    assert json.loads(outcome.out[outcome.out.index("{") :]) == {"samples": 4.0}
    assert json.loads(Path("found/metrics.json").read_text()) == {"samples": 4.0}
    outcome = kdhub("report", work_dir)
    assert Path(outcome.out.strip()).is_file()


@pytest.fixture
def asked(monkeypatch):
    """What the engine would have been asked to do."""
    calls = []

    def train(cfg, **options):
        calls.append((cfg, options))
        return RunResult(Path("run"), None, Path("report.html"), {})

    monkeypatch.setattr("kdhub.engine.train.train", train)
    return calls


def test_train_hands_on_what_was_typed(kdhub, toy_config, asked, monkeypatch):
    """An option that is parsed and dropped is worse than one that is refused."""
    kdhub(
        "train", toy_config, "--work-dir", "runs/a", "--amp", "--resume", "last.pth", "--launcher", "pytorch",
        "--local_rank", "3", "--cfg-options", "train_cfg.max_epochs=7",
    )  # fmt: skip
    ((cfg, options),) = asked
    assert options == {"resume": "last.pth", "amp": True, "launcher": "pytorch"}
    assert (cfg.work_dir, cfg.launcher, cfg.train_cfg.max_epochs) == ("runs/a", "pytorch", 7)
    assert os.environ["LOCAL_RANK"] == "3"
    monkeypatch.delenv("LOCAL_RANK")


def test_a_launcher_that_did_not_launch_is_told(kdhub, toy_config):
    """Without torchrun the process would wait for others for ever, or train alone in silence."""
    outcome = kdhub("train", toy_config, "--launcher", "pytorch")
    assert outcome.code == 2
    assert "torchrun" in outcome.err


def test_train_fills_in_what_was_not_typed(kdhub, toy_config, asked):
    """`--resume` alone means the last checkpoint; the work folder is the config's unless given."""
    kdhub("train", toy_config, "--resume")
    toy_config.write_text(toy_config.read_text() + "\nwork_dir = 'own'\n")
    kdhub("train", toy_config)
    (first, resumed), (second, plain) = asked
    assert resumed["resume"] is True
    assert plain == {"resume": False, "amp": False, "launcher": "none"}
    assert first.work_dir == str(Path("work_dirs/toy_config"))
    assert second.work_dir == "own"


def test_train_stops_at_errors_and_tells_all(kdhub, toy_config, asked):
    """Nothing may be loaded, written or overwritten by a run whose config is wrong."""
    toy_config.write_text(toy_config.read_text().replace("batch_size", "batchsize").replace("max_epochs", "max_epoch"))
    outcome = kdhub("train", toy_config)
    assert outcome.code == 2
    assert "batchsize" in outcome.err
    assert "max_epoch" in outcome.err
    assert not asked
    assert not Path("work_dirs").exists()
    assert kdhub("train", toy_config, "--skip-check").code == 0
    assert len(asked) == 1


@pytest.mark.parametrize("tool", ["train", "test"])
def test_tools_are_the_commands(tool):
    """Users of mmengine's projects type `python tools/train.py`; it must be the same program."""
    import sys

    done = subprocess.run([sys.executable, TOOLS / f"{tool}.py", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: kdhub {tool}")


def test_dist_train_passes_its_arguments_on(tmp_path):
    """The script is copied from project to project, and each copy drops another variable."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    environ = {
        **os.environ,
        "PYTHON": str(fake),
        "NNODES": "2",
        "NODE_RANK": "1",
        "PORT": "1234",
        "MASTER_ADDR": "host",
    }
    command = ["bash", TOOLS / "dist_train.sh", "a config.py", "4", "--amp", "--cfg-options", "a=1"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--node-rank=1",
        "--master-addr=host",
        "--master-port=1234",
        "--nproc-per-node=4",
        str(TOOLS / "train.py"),
        "a config.py",
        "--launcher",
        "pytorch",
        "--amp",
        "--cfg-options",
        "a=1",
    ]
    done = subprocess.run(["bash", TOOLS / "dist_train.sh", "a.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")
