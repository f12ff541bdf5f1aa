"""Roles with optimizers of their own: the check, the build, the log, and runs that are killed."""

import copy

import pytest
import safetensors.torch
from mmengine.config import Config

from kdgen import plugin
from kdgen.methods.score import SDS, SwiftBrush
from kdgen.roles import RoleOptimizers
from kdgen.toys import exact_teacher, learned_teacher, net, optimizers, student
from kdhub import UsageError
from kdhub.config import check_config, load_config
from kdhub.engine.train import train
from kdhub.registry import init
from kdhub.testing import assert_resume_exact

ADAM = {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 1e-3}}
COSINE = {"type": "kdgen.CosineSchedule"}


def swiftbrush(**more):
    """Config of a short run on the ring, with an exact teacher, so that no predecessor is needed."""
    cfg = load_config("kdgen:ring-swiftbrush")
    cfg.pop("predecessors")
    cfg.model.teacher = exact_teacher(noise=COSINE)
    cfg.model.fake_score = {"type": "kdgen.Denoiser", "net": net(), "noise": COSINE, "pred_type": "eps"}
    cfg.model.student.net = net()
    cfg.train_cfg = {"by_epoch": False, "max_iters": 12, "val_interval": 6}
    cfg.default_hooks = {"checkpoint": {"interval": 4}}
    cfg.merge_from_dict(more)
    return cfg


def test_the_table_of_roles_is_that_of_the_classes():
    """The check reads the table, as it imports no torch: a role that is missing there would be refused."""
    for target, _, _ in plugin.METHODS:
        name = f"kdgen.{target.partition(':')[2]}"
        assert plugin.ROLES.get(name, ("student",)) == init().find(name, "model").load().roles_that_train


@pytest.mark.parametrize(
    ("optimizers_", "path"),
    [
        ({"student": ADAM, "fake_score": ADAM, "fakescore": ADAM}, "optim_wrapper.fakescore"),
        ({"student": ADAM}, "optim_wrapper.fake_score"),
    ],
)
def test_roles_and_optimizers_that_do_not_meet_are_found(optimizers_, path):
    """A role without an optimizer stays as it began, and the method only seems to train."""
    cfg = swiftbrush()
    cfg.optim_wrapper = {"constructor": "kdgen.RoleOptimizers", **optimizers_}
    findings = check_config(cfg, init()).errors
    assert [one.path for one in findings] == [path]
    wrappers = {name: Config(value) for name, value in optimizers_.items()}
    with pytest.raises(UsageError, match="role"):
        RoleOptimizers(wrappers)(SwiftBrush(student(), learned_teacher()))


def test_one_optimizer_for_several_roles_is_refused():
    """It would train the fake score on the student's loss."""
    cfg = swiftbrush()
    cfg.optim_wrapper = copy.deepcopy(ADAM)
    assert [one.path for one in check_config(cfg, init()).errors] == ["optim_wrapper"]
    model = SwiftBrush(student(), learned_teacher())
    with pytest.raises(UsageError, match="several roles"):
        model._wrapper(next(iter(optimizers(model).values())), "student")


def test_a_slip_inside_a_role_is_found():
    """Each role is checked as an optimizer wrapper is, or a misspelt clip_grad would clip nothing."""
    cfg = swiftbrush()
    cfg.optim_wrapper.student.clip_gard = {"max_norm": 1.0}
    cfg.param_scheduler.student.T_mx = 3
    paths = [one.path for one in check_config(cfg, init()).errors]
    assert "optim_wrapper.student.clip_gard" in paths
    assert "param_scheduler.student.T_mx" in paths


def test_a_method_of_one_role_takes_a_plain_optimizer():
    """SDS, ASD and BOOT have no second role, and need no constructor."""
    model = SDS(student(), learned_teacher())
    wrapper = next(iter(optimizers(model).values()))
    assert model._wrapper(wrapper, "student") is wrapper


def test_a_run_logs_each_role_and_leaves_the_student_alone(tmp_path):
    """A report without the fake score's curves hides that it does not keep up; a student with it inside loads nowhere."""
    cfg = swiftbrush()
    cfg.work_dir = str(tmp_path / "run")
    result = train(cfg)
    assert set(result.metrics) == {"sliced_w2", "within", "modes", "spread"}
    log = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "run").glob("**/scalars.json"))
    for name in ("student.lr", "fake_score.lr", "student.loss_score", "fake_score.loss_denoising", "sample_spread"):
        assert f'"{name}"' in log
    weights = safetensors.torch.load_file(result.student_path / "model.safetensors")
    assert set(weights) == set(SDS(student(), learned_teacher()).student.net.state_dict())


def test_a_student_that_begins_as_its_teacher_is_no_slip(tmp_path, capfd):
    """Each run of SwiftBrush, as its paper begins, would warn that there is nothing to learn."""
    cfg = swiftbrush(**{"model.student_init": "teacher", "model.fake_score": "teacher"})
    cfg.model.teacher = learned_teacher(noise=COSINE, pred_type="x0")
    cfg.train_cfg.max_iters, cfg.work_dir = 1, str(tmp_path)
    train(cfg)
    assert "the same weights as the student" not in capfd.readouterr().err


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
def test_kill_and_resume(tmp_path):
    """Two optimizers, accumulation in one, an interval, a late average: each has a state that a checkpoint may forget."""
    cfg = swiftbrush(**{"model.student_update_freq": 2, "optim_wrapper.fake_score.accumulative_counts": 2})
    cfg.custom_hooks = [{"type": "EMAHook", "begin_iter": 5, "momentum": 0.1}]
    assert_resume_exact(cfg, at=7, tmp_path=tmp_path)
