"""Small decisions on a config: which experiment it is, which precision, which defaults."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from kdhub.engine.amp import CPUAmpOptimWrapper, choose_amp
from kdhub.engine.defaults import add_testing_defaults, add_training_defaults
from kdhub.engine.workdir.identity import differences, experiment
from kdhub.errors import UsageError


def changed(**changes: Any) -> tuple[str, ...]:
    """Return the parts in which a changed config is another experiment."""
    return differences(experiment(tiny.config("a")), experiment(tiny.config("b", **changes)))


def test_where_and_how_a_run_logs_is_not_the_experiment() -> None:
    """A guard that complains about a log level is switched off."""
    loader = tiny.config("")["train_dataloader"] | {"num_workers": 4, "persistent_workers": True}
    assert changed(log_level="DEBUG", default_hooks={"baseline": None}, resume=True, train_dataloader=loader) == ()


def test_what_is_learned_is_the_experiment() -> None:
    """A guard that lets another learning rate or data set pass mixes two runs."""
    loader = tiny.config("")["train_dataloader"]
    assert changed(train_dataloader=loader | {"batch_size": 5}) == ("train_dataloader",)
    assert changed(randomness={"seed": 1}, model={"type": "TinyClassifier", "width": 5}) == ("model", "randomness")


def test_how_a_job_asks_is_not_the_experiment() -> None:
    """A job that stopped at a busy server could not go on with fewer questions at once, and its paid answers were lost."""
    job = {"type": "kddet.Ask", "model": "toy", "prompt": "{}", "concurrency": 16}
    more = {"concurrency": 2, "retries": 9, "price": 1.0, "api_key_env": "OTHER_KEY", "base_url": "http://elsewhere/v1"}
    assert experiment({"job": job}) == experiment({"job": job | more})
    assert differences(experiment({"job": job}), experiment({"job": job | {"model": "other"}})) == ("job",)
    # elsewhere these are names like any other
    assert experiment({"model": {"type": "Net", "price": 1.0}}) != experiment({"model": {"type": "Net", "price": 2.0}})


def test_objects_in_a_config_have_no_address() -> None:
    """An object's repr changes with every start, so that a run would never be the same experiment twice."""
    one, other = ({"model": {"type": tiny.TinyClassifier, "init": object()}} for _ in range(2))
    assert experiment(one) == experiment(other)
    assert experiment(one) != experiment({"model": {"type": tiny.TinyAccuracy, "init": object()}})


def wrapper(**options: Any) -> Config:
    """Make a config with an optimizer wrapper."""
    return Config({"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}, **options}})


def test_amp_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mmengine's wrapper ends in an assertion where there is no GPU."""
    monkeypatch.setattr("kdhub.engine.amp.get_device", lambda: "cpu")
    cfg = wrapper(type="OptimWrapper")
    assert choose_amp(cfg, requested=False) is None
    assert choose_amp(cfg, requested=True) == "mixed precision: bfloat16 on the CPU"
    assert cfg.optim_wrapper.type == "kdhub.CPUAmpOptimWrapper"
    assert choose_amp(cfg, requested=True) is None
    named = wrapper(type="AmpOptimWrapper", loss_scale="dynamic", dtype="float16")
    assert "needs a GPU" in str(choose_amp(named, requested=False))
    assert dict(named.optim_wrapper) == {"type": "kdhub.CPUAmpOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}


@pytest.mark.parametrize(("bfloat16", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_amp_with_a_gpu(monkeypatch: pytest.MonkeyPatch, bfloat16: bool, dtype: str) -> None:
    """A config resolved on a CPU would run in full precision on a GPU, and say nothing."""
    monkeypatch.setattr("kdhub.engine.amp.get_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    for kind in ("OptimWrapper", "kdhub.CPUAmpOptimWrapper"):
        cfg = wrapper(type=kind)
        assert dtype in str(choose_amp(cfg, requested=True))
        assert (cfg.optim_wrapper.type, cfg.optim_wrapper.dtype) == ("AmpOptimWrapper", dtype)
    resolved = wrapper(type="kdhub.CPUAmpOptimWrapper")
    choose_amp(resolved, requested=False)
    assert resolved.optim_wrapper.type == "AmpOptimWrapper"


def test_amp_with_another_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's autocast does nothing to what runs elsewhere: the run would be in full precision and say the opposite."""
    monkeypatch.setattr("kdhub.engine.amp.get_device", lambda: "npu")
    for cfg, requested in ((wrapper(), True), (wrapper(type="kdhub.CPUAmpOptimWrapper"), False)):
        assert choose_amp(cfg, requested) == "mixed precision: float16 with loss scaling on npu"
        assert (cfg.optim_wrapper.type, cfg.optim_wrapper.dtype) == ("AmpOptimWrapper", "float16")
    named = wrapper(type="AmpOptimWrapper", dtype="bfloat16")
    assert choose_amp(named, True) is None
    assert named.optim_wrapper.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("kind", "requested"), [("OptimWrapper", True), ("AmpOptimWrapper", False), ("kdhub.CPUAmpOptimWrapper", False)]
)
def test_amp_where_there_is_none(monkeypatch: pytest.MonkeyPatch, kind: str, requested: bool) -> None:
    """On a Mac mmengine's wrapper ends in an assertion, and the CPU's would leave full precision without a word."""
    monkeypatch.setattr("kdhub.engine.amp.get_device", lambda: "mps")
    assert choose_amp(wrapper(), requested=False) is None
    with pytest.raises(UsageError, match="no mixed precision for mps devices"):
        choose_amp(wrapper(type=kind), requested)


def several(**options: Any) -> Config:
    """Make a config of two optimizer wrappers, which a constructor puts together."""
    one = wrapper(**options).optim_wrapper
    return Config({"optim_wrapper": {"constructor": "mine.Constructor", "a": one, "b": dict(one)}})


def test_amp_with_several_wrappers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole was taken for one plain wrapper: it got a type that its constructor does not expect."""
    monkeypatch.setattr("kdhub.engine.amp.get_device", lambda: "cpu")
    for cfg, requested in ((several(type="OptimWrapper"), True), (several(type="AmpOptimWrapper"), False)):
        assert "bfloat16 on the CPU" in str(choose_amp(cfg, requested))
        assert "type" not in cfg.optim_wrapper
        assert {cfg.optim_wrapper[name].type for name in "ab"} == {"kdhub.CPUAmpOptimWrapper"}
    with pytest.raises(UsageError, match=r"optim_wrapper\.a\.type: --amp cannot be combined"):
        choose_amp(several(type="mine.Wrapper"), requested=True)


@pytest.mark.parametrize("wrappers", [{"constructor": "mine.Constructor"}, object()])
def test_amp_with_wrappers_that_nobody_sees(wrappers: Any) -> None:
    """Wrappers that a constructor makes of nothing, or that are built already, cannot be changed by a flag."""
    assert choose_amp({"optim_wrapper": wrappers}, requested=False) is None
    with pytest.raises(UsageError, match="cannot tell which optimizer wrappers"):
        choose_amp({"optim_wrapper": wrappers}, requested=True)


def test_amp_with_another_wrapper() -> None:
    """Replacing a wrapper somebody wrote would drop what it does."""
    with pytest.raises(UsageError, match=r"optim_wrapper\.type: --amp cannot be combined.*got mine\.Wrapper"):
        choose_amp(wrapper(type="mine.Wrapper"), requested=True)


def test_the_users_values_win() -> None:
    """A default that replaces what was written is a trap."""
    cfg = Config(
        {
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1000, "val_interval": 100},
            "default_hooks": {
                "checkpoint": {"type": "CheckpointHook", "interval": 7, "max_keep_ckpts": 1},
                "logger": {"type": "LoggerHook", "interval": 3},
                "baseline": None,
                "progress": {"interval": 1.0},
            },
            "visualizer": {"type": "mine.Visualizer", "vis_backends": [{"type": "WandbVisBackend"}]},
            "env_cfg": {"cudnn_benchmark": True},
            "work_dir": "mine",
        }
    )
    add_training_defaults(cfg)
    hooks = cfg.default_hooks
    assert hooks.checkpoint == {"type": "kdhub.CheckpointHook", "interval": 7, "max_keep_ckpts": 1, "by_epoch": False}
    assert hooks.logger == {"type": "LoggerHook", "interval": 3}
    assert hooks.baseline is None
    assert hooks.progress == {"type": "kdhub.ProgressHook", "interval": 1.0}
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ["WandbVisBackend", "LocalVisBackend"]
    assert cfg.visualizer.type == "mine.Visualizer"
    assert cfg.env_cfg.cudnn_benchmark is True
    assert cfg.work_dir == "mine"
    assert cfg.log_processor.by_epoch is False


@pytest.mark.parametrize("kind", ["CheckpointHook", "mmengine.CheckpointHook", CheckpointHook])
def test_mmengines_checkpoint_hook_is_replaced_however_it_is_named(kind: Any) -> None:
    """Its checkpoints have no state to resume from exactly; configs in mmengine's newer style hold the class."""
    cfg = Config({"train_cfg": {"max_iters": 9}, "default_hooks": {"checkpoint": {"type": kind, "interval": 3}}})
    add_training_defaults(cfg)
    assert cfg.default_hooks.checkpoint.type == "kdhub.CheckpointHook"


def test_testing_keeps_the_options_of_the_progress_bar() -> None:
    """Whoever silenced it in training does not want it in testing."""
    cfg = Config({"default_hooks": {"progress": None}})
    add_testing_defaults(cfg)
    assert cfg.default_hooks.progress is None
    cfg = Config({"default_hooks": {"progress": {"interval": 9.0}, "baseline": {"teacher": False}}})
    add_testing_defaults(cfg)
    assert cfg.default_hooks.progress == {"type": "kdhub.ProgressHook", "interval": 9.0}
    assert cfg.default_hooks.baseline is None


@pytest.mark.parametrize(
    "kind",
    [OptimWrapper, "mmengine.OptimWrapper", "mmengine.optim.optimizer.optimizer_wrapper.OptimWrapper", AmpOptimWrapper],
)
def test_amp_with_a_class_or_its_import_path(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """A config in mmengine's new style, and the one that its run dumped, were refused with "expected OptimWrapper, got it"."""
    monkeypatch.setattr("kdhub.engine.amp.get_device", lambda: "cpu")
    cfg = wrapper(type=kind)
    assert "bfloat16 on the CPU" in str(choose_amp(cfg, requested=True))
    assert choose_amp(wrapper(type=CPUAmpOptimWrapper), requested=True) is None
