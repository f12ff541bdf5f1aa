"""DisBack: the path of the teacher's degradation, and the way back along it."""

import pytest
import torch

from kdgen.distiller import Draw
from kdgen.methods.disback import Degradation, DisBack, path_of
from kdgen.toys import learned_teacher, optimizers, student
from kdhub import UsageError
from kdhub.config import load_config
from kdhub.engine.train import train
from kdhub.testing import assert_resume_exact


def batch(size=16):
    """Unit noise."""
    return {"inputs": torch.randn(size, 2)}


def recorded(folder, teacher, nodes=5, lr=0.05):
    """Run stage 1 by hand, and write its nodes."""
    model = Degradation(student(), teacher)
    wrappers, files = optimizers(model, lr), []
    for number in range(nodes):
        model.train_step(batch(), wrappers)
        files.append(folder / f"iter_{(number + 1) * 10}.pth")
        torch.save({"state_dict": model.state_dict()}, files[-1])
    return model, files


def test_stage_one_trains_the_copy_alone(tmp_path):
    """A generator that moves in stage 1 is not the one whose samples the last node knows."""
    torch.manual_seed(0)
    model = Degradation(student(), learned_teacher())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    teacher = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    logs = model.train_step(batch(), optimizers(model, 0.1))
    moved = {
        name.partition(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"fake_score", "position"}
    assert all(torch.equal(value, teacher[name]) for name, value in model.teacher.state_dict().items())
    assert set(logs) == {"loss", "fake_score.loss_denoising"}


def test_the_path_is_walked_back_to_the_teacher(tmp_path):
    """The card: with N = 5 the targets are 4, 3, 2, 1, 0, and the fake score begins as 5. The released code does not walk."""
    teacher = learned_teacher()
    torch.manual_seed(3)
    first, files = recorded(tmp_path, teacher)
    torch.manual_seed(3)
    model = DisBack(student(), teacher, path=str(tmp_path), steps_per_node=10)
    last = torch.load(files[-1], weights_only=True)["state_dict"]
    assert all(torch.equal(value, last[f"fake_score.{name}"]) for name, value in model.fake_score.state_dict().items())
    seen, targets = [], []
    for step in range(0, 80, 5):
        model.position.move_to(step)
        seen.append(model.node_at(step))
        targets.append(next(iter(model.target.net.parameters())).detach().clone())
    assert list(dict.fromkeys(seen)) == [4, 3, 2, 1, 0]
    assert seen.count(4) == 2
    distinct = {one.numpy().tobytes() for one in targets}
    assert len(distinct) == 5
    assert model.target is model.teacher
    assert not any(one.requires_grad for one in model.target.parameters())
    assert first.student.net is not model.student.net


def test_without_a_path_it_is_plain_distillation():
    """The card: N = 0 reduces to score distillation with the teacher's copy as fake score."""
    model = DisBack(student(), learned_teacher(), path=[])
    assert model.target is model.teacher
    pairs = zip(model.fake_score.net.parameters(), model.teacher.net.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    terms = model.student_loss(Draw(torch.randn(8, 2), None))
    assert float(terms["loss_score"].detach()) == 0


def test_files_that_are_no_path_are_refused(tmp_path):
    """Loaded without strictness, a wrong file is no weight at all, and the method is another one: as in the released code."""
    with pytest.raises(UsageError, match="without nodes"):
        path_of(str(tmp_path))
    torch.save({"state_dict": {"other.weight": torch.zeros(1)}}, tmp_path / "iter_1.pth")
    with pytest.raises(UsageError, match="not a node"):
        DisBack(student(), learned_teacher(), path=str(tmp_path))
    teacher = learned_teacher()
    torch.manual_seed(3)
    recorded(tmp_path, teacher, nodes=1, lr=0.0)
    (tmp_path / "iter_1.pth").unlink()
    torch.manual_seed(3)
    with pytest.raises(UsageError, match="nothing degraded"):
        DisBack(student(), teacher, path=str(tmp_path))


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path):
    """By name iter_120 comes before iter_60, and the way back would jump."""
    for number in (60, 120, 1000):
        (tmp_path / f"iter_{number}.pth").touch()
    assert [one.name for one in path_of(str(tmp_path))] == ["iter_60.pth", "iter_120.pth", "iter_1000.pth"]


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
def test_the_three_stages_run_by_one_command_and_resume(tmp_path):
    """A stage that finds nothing of the one before it, or a target that is another one after a power cut, spoils the run."""
    few = [
        "degradation:teacher:train_cfg.max_iters=4",
        "degradation:train_cfg.max_iters=4",
        "degradation:train_cfg.val_interval=4",
        "degradation:default_hooks.checkpoint.interval=2",
    ]
    cfg = load_config("kdgen:ring-disback", few)
    cfg.predecessors.degradation = {
        "config": "kdgen:ring-degradation",
        "cfg_options": dict(cfg.predecessors.degradation.cfg_options),
    }
    cfg.work_dir = str(tmp_path / "first")
    cfg.train_cfg.update(max_iters=8, val_interval=8)
    cfg.model.steps_per_node = 3
    train(cfg)
    cfg.pop("predecessors")
    cfg.load_from = str(tmp_path / "first/degradation/student/model.safetensors")
    cfg.model.path = str(tmp_path / "first/degradation")
    cfg.model.teacher.model = str(tmp_path / "first/degradation/teacher/student/model.py")
    cfg.model.teacher.checkpoint = str(tmp_path / "first/degradation/teacher/student/model.safetensors")
    cfg.default_hooks = {"checkpoint": {"interval": 2}}
    assert_resume_exact(cfg, at=5, tmp_path=tmp_path / "killed")
