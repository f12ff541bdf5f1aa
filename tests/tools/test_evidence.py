"""`tools/evidence.py`: the intervals that the documentation quotes, and the make targets that the documentation names."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from kdhub.config import load_config
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdhub.registry import init
from kdhub.sealed import write_sealed

ROOT = Path(__file__).resolve().parents[2]
TARGETS = sorted(
    # two have tools and tests of their own
    set(re.findall(r"^(evidence-[\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    - {"evidence-generation-toy", "evidence-index"}
)


@pytest.fixture
def tool(monkeypatch):
    """The tool as a module."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    yield importlib.import_module("evidence")
    sys.modules.pop("evidence", None)


@pytest.fixture
def config(monkeypatch, tmp_path):
    """A config file that trains in a moment."""
    monkeypatch.syspath_prepend(ROOT / "tests/engine")
    tiny = importlib.import_module("tiny")
    plain = tiny.config("unused")
    test = {f"test_{part}": plain[f"val_{part}"] for part in ("dataloader", "evaluator", "cfg")}
    path = tmp_path / "plain.py"
    tiny.config("unused", custom_imports={"imports": ["tiny"]}, **test).dump(str(path))
    return path


def finished(tool, folder, variant, seed, score=50.0, status="finished"):
    """Leave what a finished run leaves, as far as the tool reads it."""
    path, *overrides = variant.split(",")
    run = tool.Run("name", seed, path, (f"randomness.seed={seed}", *overrides), folder / f"seed{seed}")
    run.work_dir.mkdir(parents=True)
    card = {
        "status": status,
        "experiment": run.experiment,
        "evaluations": [{"metrics": {"tiny/accuracy": score}}],
        "baselines": {"student": {"tiny/accuracy": 1.0}},
    }
    write_sealed(run.work_dir / "run.json", card)
    return run


@pytest.fixture
def commands(tool, monkeypatch):
    """The kdhub commands that the tool would run; `test` leaves a result."""
    ran = []

    def kdhub(*arguments):
        ran.append(arguments)
        if arguments[0] == "test":
            Path(arguments[arguments.index("--out") + 1]).write_text('{"tiny/accuracy": 1.0}')

    monkeypatch.setattr(tool, "_kdhub", kdhub)
    return ran


@pytest.mark.parametrize("target", TARGETS)
def test_every_evidence_target_runs_dry(target, tool, monkeypatch, capsys, tmp_path):
    """Figures in the documentation outlive a command that cannot be typed any more, or whose configs and metrics were renamed."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    pytest.importorskip("mmseg", reason="needs what the configs name")
    monkeypatch.chdir(ROOT)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    printed = subprocess.run(["make", "-n", target, "DRY_RUN=1"], check=True, capture_output=True, text=True, env=clean)
    lines = printed.stdout.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if "tools/evidence.py" in line]
    assert commands
    assert not any("prepare_data" in line or "kdhub train" in line for line in lines)
    for command in commands:
        arguments = command[command.index("tools/evidence.py") + 1 :]
        assert "--dry-run" in arguments
        assert tool.main([*arguments, "--work-dir", str(tmp_path)]) == 0
        out, err = capsys.readouterr()
        assert "evidence: warning" not in err
        seeds = [arguments[place + 1] for place, one in enumerate(arguments) if one == "--seeds"][-1].split(",")
        assert len(out.splitlines()) == len(seeds) * sum(".py" in argument for argument in arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_override_may_hold_the_seed(tool, config, commands, tmp_path):
    """Five seeds over one draw of labels tell how the method does on that draw."""
    arguments = [f"a={config}", "--seeds", "3,5", "--cfg-options", "model.width={seed}", "--work-dir", str(tmp_path)]
    runs = tool._runs(tool._parser().parse_intermixed_args(arguments))
    assert [run.options for run in runs] == [(f"randomness.seed={s}", f"model.width={s}") for s in (3, 5)]


def test_a_variant_may_change_its_predecessors(tool):
    """An override of a stage stuck to the value before it, and both variants would have learned from one stage."""
    (run,) = tool._runs(
        tool._parser().parse_intermixed_args(["a=a.py,x.y=[1,2],one:job.by=lot,one:two:z=3", "--seeds", "0"])
    )
    assert run.options == ("randomness.seed=0", "x.y=[1,2]", "one:job.by=lot", "one:two:z=3")


@pytest.mark.parametrize(
    "arguments",
    [
        "a={} b={} --metric x,y --seeds 0,1 --cfg-options k=1 --cfg-options m=2",
        "--metric x,y --seeds 0,1 --cfg-options k=1 --cfg-options m=2 a={} b={}",
        "--cfg-options k=1 a={} --metric x,y --cfg-options m=2 b={} --seeds 0,1",
        "a={} --seeds 0,1 b={} --metric x,y --cfg-options k=1 --cfg-options m=2",
    ],
)
def test_options_swallow_no_variant(tool, arguments):
    """`--metric a b name=config` took the variants for metrics, and the documented command ended in a usage error."""
    parsed = tool._parser().parse_intermixed_args(arguments.format("a.py", "b.py").split())
    assert parsed.variants == ["a=a.py", "b=b.py"]
    assert (parsed.metric, parsed.seeds, parsed.cfg_options) == (["x", "y"], [0, 1], ["k=1", "m=2"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("ours={}", None),
        ("ours={},train_cfg.max_itres=9", "max_itres"),
        ("ours={} --cfg-options train_dataloader.batch_sise=9", "batch_sise"),
        ("ours={}.py", "plain.py.py"),
        ("ours={} mAcc", "not a variant"),
        ("ours={} ours={}", "two variants are called 'ours'"),
        ("ours={},custom_imports.imports=['tiny','json'],train_cfg.max_iters=9", None),
        ("ours={},test_dataloader=None,test_cfg=None,test_evaluator=None --test", "the config has no test_evaluator"),
    ],
)
def test_a_dry_run_finds_what_would_stop_the_run(tool, config, commands, capsys, tmp_path, arguments, told):
    """A typo in the last variant would come to light after hours of training the others."""
    words = arguments.format(config, config).split()
    code = tool.main([*words, "--dry-run", "--metric", "tiny/accuracy", "--work-dir", str(tmp_path / "runs")])
    out, err = capsys.readouterr()
    if told is None:
        assert (code, err, out.count("\n")) == (0, "", 3)
    else:
        assert code == 2
        assert told in err
    assert commands == []


@pytest.mark.parametrize("metric", ["accuracy", "tiny/acuracy", "tniy/accuracy"])
def test_an_unlikely_metric_is_named_before_training(tool, config, capsys, metric):
    """A misspelt metric would be a KeyError after the last run."""
    assert tool.main([f"ours={config}", "--dry-run", "--metric", metric]) == 0
    assert f"seems to report '{metric}'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["--seeds 0,1,1", "--jobs 0"])
def test_numbers_that_make_no_table(tool, config, capsys, arguments):
    """A seed given twice narrowed the interval as a further run would; no job at a time was a traceback after the check."""
    with pytest.raises(SystemExit):
        tool.main([f"ours={config}", *arguments.split(), "--dry-run"])
    assert "a seed occurs twice" in (err := capsys.readouterr().err) or "at least 1" in err


def test_a_metric_that_no_run_reported(tool, config, commands, capsys, tmp_path):
    """After the last run there was a KeyError, which names no variant and nothing to take instead."""
    finished(tool, tmp_path / "ours", str(config), 0)
    assert tool.main([f"ours={config}", "--seeds", "0", "--metric", "tiny/acc", "--work-dir", str(tmp_path)]) == 2
    assert "the runs of 'ours' report no 'tiny/acc' (got tiny/accuracy)" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_gain_is_compared_seed_by_seed(tool, config, commands, capsys, tmp_path, jobs):
    """Intervals of two means would hide a gain that every single seed shows; a finished run must not be repeated."""
    for seed, (alone, ours) in enumerate([(10.0, 12.0), (20.0, 22.5), (30.0, 33.0)]):
        finished(tool, tmp_path / "alone", str(config), seed, alone)
        finished(tool, tmp_path / "ours", f"{config},train_cfg.max_iters=9", seed, ours)
    variants = [f"alone={config}", f"ours={config},train_cfg.max_iters=9"]
    arguments = [*variants, "--metric", "tiny/accuracy", "--work-dir", str(tmp_path), "--jobs", jobs]
    assert tool.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["tiny/accuracy"]
    assert found["variants"]["alone"]["mean"] == 20.0
    gain = found["gains"]["ours - alone"]
    assert gain["mean"] == 2.5
    # Student's t with 2 degrees of freedom, 0.975: 4.302653; deviation of 2, 2.5, 3: 0.5
    assert gain["half_width_95"] == pytest.approx(4.302653 * 0.5 / 3**0.5, rel=1e-6)
    assert tool.main(arguments) == 0
    assert "| ours - alone | 2.5000 | ± 1.2421 |" in capsys.readouterr().out
    assert commands == []


def test_queries_are_compared_pair_by_pair(tool, capsys):
    """A gain over 3 seeds may hang on one query: seeds alone do not show it, and their runs are no more queries."""
    queries = {"alone": [0.4, 0.5, 0.6], "rival": [0.4, 0.5, 1.2], "ours": [0.5, 0.7, 0.9]}

    def run(values, seed):
        kept = {f"q{row}": value + 0.1 * (seed - 1) for row, value in enumerate(values)}
        per_query = {"accuracy": dict(sorted(kept.items(), reverse=seed == 1))}
        return {"metrics": {"accuracy": sum(kept.values()) / 3}, "baselines": {}, "per_query": per_query}

    runs = {name: [run(values, seed) for seed in range(3)] for name, values in queries.items()}
    tables = importlib.import_module("evidence_tables")
    arguments = ["accuracy"], [0, 1, 2], False, None
    summary = tables.summary_of(runs, *arguments)
    gains = summary["metrics"]["accuracy"]["gains"]
    # of 8 ways to set the signs of 0.1, 0.2, 0.3 two have a sum as far from 0; of 0.1, 0.2, -0.3 all are at least as far
    assert gains["ours - alone"]["p"] == 0.25
    assert gains["ours - rival"]["p"] == 1.0
    lines = tables.long_table(summary).splitlines()
    assert len({line.count("|") for line in lines[:-1]}) == 1
    assert [line for line in lines if line.startswith("| ours - alone |") and line.endswith(" 0.2500 |")]
    del runs["rival"][1]["per_query"]["accuracy"]
    with pytest.raises(UsageError, match="not all runs kept 'accuracy'"):
        tables.summary_of(runs, *arguments)
    for run in (run for own in runs.values() for run in own):
        run["per_query"] = {"another": {}}
    assert "p" not in tables.summary_of(runs, *arguments)["metrics"]["accuracy"]["gains"]["ours - alone"]


def test_each_run_keeps_the_queries_to_itself(tool, config):
    """Two runs that wrote one file would be compared with themselves, and differ in nothing."""
    arguments = [f"a={config}", f"b={config}", "--seeds", "0,1", "--paired", "--test", "--work-dir", "w"]
    runs = tool._runs(tool._parser().parse_intermixed_args(arguments))
    kept = [option for run in runs for option in run.options if "per_query" in option]
    assert kept[:2] == [
        "val_evaluator.per_query=w/a/seed0/per_query.json",
        "test_evaluator.per_query=w/a/seed0/per_query.test.json",
    ]
    assert len(set(kept)) == 8


def test_a_changed_variant_gets_no_old_figures(tool, config, commands, capsys, tmp_path):
    """The figures of another config stood under the new name, as only the folder's name was looked at."""
    finished(tool, tmp_path / "ours", str(config), 0)
    arguments = ["--seeds", "0", "--metric", "tiny/accuracy", "--work-dir", str(tmp_path)]
    assert tool.main([f"ours={config}", *arguments]) == 0
    capsys.readouterr()
    for dry in ([], ["--dry-run"]):
        assert tool.main([f"ours={config},optim_wrapper.optimizer.lr=9.0", *arguments, *dry]) == 2
        assert "differs in optim_wrapper) -> move that folder away" in capsys.readouterr().err
    assert commands == []


def test_the_card_of_a_real_run_is_recognised(tool, config, tmp_path):
    """If training completed a config in another way than the tool, no run would ever be reused."""
    run = tool.Run("ours", 1, str(config), ("randomness.seed=1",), tmp_path / "run")
    assert run.state() == "train"
    cfg = tool.load_config(run.config, run.options)
    cfg.work_dir = str(run.work_dir)
    train(cfg)
    assert run.state() == "reuse"


@pytest.mark.parametrize(("status", "pointer", "state"), [("failed", True, "resume"), ("interrupted", False, "train")])
def test_an_unfinished_run_goes_on(tool, config, tmp_path, status, pointer, state):
    """A run that was stopped has an evaluation in its card, which is not the one to report."""
    run = finished(tool, tmp_path, str(config), 0, status=status)
    if pointer:
        (run.work_dir / "last_checkpoint").write_text("iter_3.pth")
    assert run.state() == state


def test_test_results_are_of_this_checkpoint_and_this_test_data(tool, config, commands, capsys, tmp_path):
    """What the test data gave for another checkpoint, or other test data, must not stand in the table."""
    run = finished(tool, tmp_path / "ours", str(config), 0)
    checkpoint = run.work_dir / "iter_6.pth"
    checkpoint.write_bytes(b"one")
    (run.work_dir / "last_checkpoint").write_text(str(checkpoint))
    (run.work_dir / "test.json").write_text('{"tiny/accuracy": 7.0}')  # of nobody knows what
    arguments = ["--seeds", "0", "--metric", "tiny/accuracy", "--work-dir", str(tmp_path), "--test"]

    def tested(variant):
        commands.clear()
        assert tool.main([f"ours={variant}", *arguments]) == 0
        assert "| ours | 1.0000 |" in capsys.readouterr().out
        return len(commands)

    assert tested(config) == 1
    assert tested(config) == 0
    checkpoint.write_bytes(b"two")
    assert tested(config) == 1
    assert tested(f"{config},test_dataloader.dataset.seed=5") == 1
    assert tested(f"{config},test_dataloader.dataset.seed=5") == 0


def test_every_variant_is_compared_with_those_that_are_named(tool, config, commands, capsys, tmp_path):
    """A table of ten methods needs each one's gain over two of them, seed by seed, and not the last one's over all."""
    for name, scores in {"alone": (50.0, 52.0, 54.0), "kd": (51.0, 53.0, 58.0)}.items():
        for seed, score in enumerate(scores):
            finished(tool, tmp_path / name, str(config), seed, score)
    arguments = [f"alone={config}", f"kd={config}", "--metric", "tiny/accuracy", "--work-dir", str(tmp_path)]
    assert tool.main([*arguments, "--against", "alone,kd"]) == 0
    rows = capsys.readouterr().out.splitlines()
    # gains 1, 1 and 4: mean 2, standard deviation 1.732, times 4.303 / sqrt(3)
    assert rows[0] == "| 3 seeds | tiny/accuracy | over alone | over kd |"
    assert rows[-1] == "| kd | 54.0 ± 9.0 | 2.0 ± 4.3 |  |"
    assert tool.main([*arguments, "--against", "alnoe"]) == 2
    assert "no variant is called so" in capsys.readouterr().err
    assert commands == []


def test_a_metric_that_is_not_finite_is_shown(tool):
    """A run card holds NaN as text; after hours of training its arithmetic ended in a TypeError."""
    runs = {"ours": [{"metrics": {"edge": value}, "baselines": {}} for value in ("nan", 0.5)]}
    tables = importlib.import_module("evidence_tables")
    summary = tables.summary_of(runs, ["edge"], [0, 1], False, None)
    assert "| ours | nan | ± nan |" in tables.long_table(summary)


def test_runs_with_predecessors_go_on(tool, config, commands, capsys, tmp_path):
    """Their cards name folders and results that a config does not: the table could not be gone on with after its first run."""
    first = f"dict(config='plain.py', cfg_options=dict(work_dir={str(tmp_path / 'first')!r}))"
    text = (
        f"_base_ = ['plain.py']\npredecessors = dict(first={first})\nload_from = '@first/student/model.safetensors'\n"
    )
    (tmp_path / "second.py").write_text(text)
    arguments = [
        f"a={tmp_path}/second.py",
        "--seeds",
        "0",
        "--metric",
        "tiny/accuracy",
        "--work-dir",
        str(tmp_path / "out"),
    ]
    (run,) = tool._runs(tool._parser().parse_intermixed_args(arguments))
    cfg = run.cfg.copy()
    cfg.work_dir = str(run.work_dir)
    train(cfg)
    assert run.state() == "reuse"
    assert tool.main([*arguments, "--test"]) == 0
    ((*_, folder, _options, seed),) = commands
    assert (folder, seed) == (str(run.work_dir), "randomness.seed=0")
    capsys.readouterr()
    shutil.rmtree(tmp_path / "first")
    assert tool.main(arguments) == 2
    assert "a variant that differs in after" in capsys.readouterr().err


def test_a_bare_run_is_kept_and_never_taken_for_another(tool, config, commands, capsys, monkeypatch, tmp_path):
    """A table of thirty runs that starts anew after a stop is never finished; one of two experiments is no table."""
    ran = []

    def measured(cfg, test, draws):
        ran.append((cfg.randomness.seed, test, draws))
        return {"tiny/accuracy": 50.0 + cfg.randomness.seed}

    monkeypatch.setattr(importlib.import_module("bare_run"), "measured", measured)
    arguments = ["--bare", "8", "--test", "--metric", "tiny/accuracy", "--work-dir", str(tmp_path)]
    for _ in range(2):
        assert tool.main([f"a={config}", *arguments]) == 0
    assert ran == [(0, True, 8), (1, True, 8), (2, True, 8)]
    assert "| a | 51.0000 | ± 2.4841 | 1.0000 |" in capsys.readouterr().out
    assert tool.main([f"a={config},train_cfg.max_iters=9", *arguments]) == 2
    assert "holds another experiment" in capsys.readouterr().err
    assert tool.main([f"a={config}", "--bare", "3", *arguments[2:]]) == 2
    assert "holds another experiment" in capsys.readouterr().err
    assert commands == []


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ({"train_cfg": {"by_epoch": True, "max_epochs": 2}}, "train_cfg.by_epoch"),
        ({"param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 2}]}, "param_scheduler.0.by_epoch"),
        ({"train_dataloader": {"sampler": {"type": "kdhub.Other"}, "drop_last": True}}, "train_dataloader.sampler"),
        ({"custom_hooks": [{"type": "EMAHook"}]}, "custom_hooks"),
        ({"load_from": "weights.pth"}, "load_from"),
        ({"optim_wrapper": {"type": "AmpOptimWrapper"}}, "optim_wrapper.type"),
        ({"train_dataloader": {"sampler": {"type": "DefaultSampler"}}}, "train_dataloader.drop_last"),
        ({"model": {"student": {"init_cfg": {"type": "Pretrained"}}}}, "student.init_cfg"),
    ],
)
def test_a_bare_run_leaves_nothing_out_in_silence(tool, override, what):
    """Figures of a student without its schedule or its EMA would stand under the config's name."""
    plain = {
        "train_cfg": {"by_epoch": False, "max_iters": 2},
        "train_dataloader": {"sampler": {"type": "DefaultSampler", "shuffle": True}, "drop_last": True},
        "optim_wrapper": {},
        "model": {},
    }
    with pytest.raises(UsageError, match=f"^{re.escape(what)}: a bare run shuffles"):
        importlib.import_module("bare_run").measured(Config({**plain, **override}), False, 1)


def test_a_bare_run_refuses_the_store_of_other_data(tool, config, monkeypatch):
    """With the store of the balanced data each image of the long tail got another one's answers."""
    bare = importlib.import_module("bare_run")
    manifest = SimpleNamespace(seed=None, draws=1, data="other samples")
    monkeypatch.setattr(bare, "StoreReader", lambda _: SimpleNamespace(manifest=manifest))
    cfg = load_config(config, [])
    cfg.model.teacher = {"store": "balanced"}
    with pytest.raises(UsageError, match="^balanced: the store holds answers for other samples"):
        bare._train(None, cfg, 1)


def test_a_bare_run_hands_on_the_places_of_samples(tool):
    """Contrastive distillation would remember the features of one image as those of another, or stop the table at its last row."""
    data = {"type": "kdcls.Indexed", "data": {"type": "kdcls.Digits"}}

    class Recorder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.seen = []

        def data_preprocessor(self, raw, training):
            return raw

        def forward(self, inputs, labels, index, mode):
            self.seen.append((labels, index))
            return {"loss": self.weight}

        def parse_losses(self, losses):
            return losses["loss"].sum(), {}

    init()
    settings = {
        "model": {},
        "randomness": {"seed": 0},
        "train_dataloader": {"dataset": data, "batch_size": 32},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "train_cfg": {"max_iters": 2},
    }
    model = Recorder()
    importlib.import_module("bare_run")._train(model, Config(settings), 1)
    own = DATASETS.build(data["data"])
    for labels, index in model.seen:
        assert torch.equal(labels, own.labels[index])
    assert len({int(one) for _, index in model.seen for one in index}) == 64
