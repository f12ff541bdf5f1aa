"""AGD: hand values and properties of its card, trajectories on disk, and a short version of its toy."""

import copy

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.registry import MODELS

from kdgen.commands.sample import main as sample
from kdgen.distiller import Draw
from kdgen.methods.agd import AGD
from kdgen.noise import CosineSchedule
from kdgen.ring import Ring
from kdgen.sampling import ddim
from kdgen.toys import learned_teacher, optimizers, student
from kdgen.trajectories import Trajectories, TrajectoryEnds, collect_trajectories
from kdhub import UsageError
from kdhub.config import load_config
from kdhub.engine.train import train
from kdhub.testing import assert_resume_exact

NOISE = {"type": "kdgen.CosineSchedule"}
ADAPTERS = {"at": "hidden.*", "width": 16, "scale": 0.1, "time": "time", "condition": "labels"}


def agd(design="offset", teacher=None, loss="l2", **more):
    """A small AGD with four classes."""
    adapters = {**ADAPTERS, "design": design}
    own = student(4, NOISE, **{"pred_type": "eps", **more}, type="kdgen.GuidedDenoiser", adapters=adapters)
    return AGD(own, teacher or learned_teacher(4, NOISE), loss=loss)


def states(size=16):
    """A batch of made-up states."""
    return {
        "inputs": torch.randn(size, 2),
        "labels": torch.randint(4, (size,)),
        "times": torch.rand(size) * 0.9 + 0.05,
        "guidance": torch.rand(size) * 5 + 1,
        "targets": torch.randn(size, 2),
    }


def test_the_guided_prediction_by_hand(tmp_path):
    """The card: 0.1 without the class, 0.3 with it, w = 4 give 0.9; trajectories must hold this, and not the conditional one."""
    model = MODELS.build(student(4, NOISE, "eps"))
    model.net.forward = lambda x, t, labels: torch.where(labels[:, None] == 4, 0.1, 0.3).expand_as(x)
    said = model.predict(torch.randn(3, 2), torch.rand(3), torch.tensor([0, 1, 2]), guidance_scale=4.0)
    assert torch.allclose(said, torch.full((3, 2), 0.9))


@pytest.mark.parametrize("design", ["offset", "attention"])
def test_it_begins_as_the_conditional_model_bit_for_bit(design):
    """The card: adapters begin at zero; the released flag is inverted, and a start elsewhere unlearns the base first."""
    model = agd(design)
    x, t, labels = torch.randn(8, 2), torch.rand(8), torch.arange(8) % 4
    alone = model.student.predict_unguided(x, t, labels)
    for scale in (1.0, 6.0):
        assert torch.equal(model.student.predict(x, t, labels, guidance_scale=scale), alone)


@pytest.mark.parametrize("design", ["offset", "attention"])
def test_the_adapters_learn_alone_and_come_off(design):
    """A base that moves is another model for everybody who shares it; adapters that stay behind guide it for ever."""
    model = agd(design)
    before = {name: value.clone() for name, value in model.student.net.state_dict().items()}
    wrappers = optimizers(model, 0.5)
    for _ in range(3):
        model.train_step(states(), wrappers)
    assert all(torch.equal(value, before[name]) for name, value in model.student.net.state_dict().items())
    assert not any(one.requires_grad or one.grad is not None for one in model.student.net.parameters())
    batch = states()
    asked = (batch["inputs"], batch["times"], batch["labels"])
    alone = model.student.predict_unguided(*asked)
    assert not torch.equal(model.student.predict(*asked, guidance_scale=batch["guidance"]), alone)
    assert torch.equal(model.teacher.predict(*asked), alone)
    model.student.adapters.remove()
    assert torch.equal(model.student.predict(*asked, guidance_scale=batch["guidance"]), alone)


def test_each_sample_hears_its_own_scale():
    """With one scale for the batch, adapters would learn the average guidance."""
    model = agd()
    for one in model.student.adapters.blocks.values():
        torch.nn.init.normal_(one.last.weight)
    x, t, labels = torch.randn(1, 2).expand(3, 2), torch.full((3,), 0.5), torch.ones(3, dtype=torch.long)
    said = model.student.predict(x, t, labels, guidance_scale=torch.tensor([1.0, 4.0, 4.0]))
    assert not torch.allclose(said[0], said[1])
    assert torch.allclose(said[1], said[2], atol=1e-6)


def test_an_average_has_its_own_adapters():
    """An EMA copies the model: hooks that still call the adapters of the original would evaluate those."""
    model = agd().student
    other = copy.deepcopy(model)
    for one in other.adapters.blocks.values():
        torch.nn.init.ones_(one.last.bias)
    x, t, labels = torch.randn(4, 2), torch.rand(4), torch.arange(4)
    assert not torch.equal(model.predict(x, t, labels), other.predict(x, t, labels))
    assert torch.equal(model.predict(x, t, labels), model.predict_unguided(x, t, labels))


@pytest.mark.parametrize(("loss", "calls"), [("l2", 1), ("l1", 1), ("noise", 1), ("cos", 2)])
def test_a_step_asks_the_network_once(loss, calls):
    """The card: no teacher while training. A second pass would cost as much as the guidance that is saved."""
    model, count = agd(loss=loss), []
    model.student.net.register_forward_pre_hook(lambda *_: count.append(1))
    model.train_step(states(), optimizers(model))
    assert len(count) == calls


def test_the_losses_by_hand():
    """Weights that are not those of the method train something near it, which nobody notices."""
    x, target = torch.zeros(1, 2), torch.tensor([[0.6, 0.8]])
    t = torch.tensor([1 / 3])  # sigma = sin(pi / 6) = 0.5
    more = {"times": t, "guidance": torch.ones(1), "targets": target}
    for loss, expected in (("l2", 0.5), ("l1", 0.7), ("noise", 0.25), ("cos", 0.1)):
        model = agd(loss=loss)
        model.student.predict = lambda *a, **k: torch.zeros(1, 2)
        model.student.predict_unguided = lambda *a, **k: torch.tensor([[1.0, 0.0]])  # 1/2 |1 - cos| = 0.2; 0.5 * 0.2
        found = model.student_loss(Draw(x, torch.zeros(1, dtype=torch.long), more=more))["loss_guidance"]
        assert float(found) == pytest.approx(expected, abs=1e-5)


def test_trajectories_are_all_kept_and_go_on_after_a_stop(tmp_path):
    """The card: states are trajectories times steps. A job that begins anew after a power cut costs hours of sampling."""
    teacher, options = learned_teacher(4, NOISE), {"shape": (2,), "trajectories": 300, "held_out": 20, "steps": 5}
    torch.manual_seed(3)
    found = collect_trajectories(tmp_path, teacher, **options)
    assert found["states"] == 320 * 5
    states_, ends = np.load(tmp_path / "states.npy"), np.load(tmp_path / "ends.npy")
    whole = states_.copy()
    assert states_.shape == (320, 5, 2, 2)
    drawn = safetensors.torch.load_file(tmp_path / "drawn.safetensors")
    torch.manual_seed(3)
    model = MODELS.build(teacher["model"])
    noise = torch.from_numpy(states_[:, 0, 0]).float()
    theirs = ddim(model, noise, drawn["labels"], drawn["times"].tolist(), drawn["guidance"])
    assert torch.allclose(theirs, torch.from_numpy(ends), atol=1e-4)
    for step, time in enumerate(drawn["times"].tolist()):
        state, target = torch.from_numpy(whole[:, step]).float().unbind(dim=1)
        asked = (state, torch.full((320,), time), drawn["labels"])
        guided, alone = (model.predict(*asked, guidance_scale=one).detach() for one in (drawn["guidance"], 1.0))
        # a state is rounded to float16 once it was asked about
        assert float((target - guided).abs().mean()) < 0.02 * float((alone - guided).abs().mean())
    (tmp_path / "done.txt").write_text("256")
    states_[256:] = 0
    np.save(tmp_path / "states.npy", states_)
    with pytest.raises(UsageError, match="not all there"):
        Trajectories(str(tmp_path))
    torch.manual_seed(3)
    collect_trajectories(tmp_path, teacher, **options, together=50)
    np.testing.assert_allclose(np.load(tmp_path / "states.npy"), whole, rtol=0.01, atol=0.01)
    np.testing.assert_allclose(np.load(tmp_path / "ends.npy"), ends, rtol=0.01, atol=0.01)
    chunk = Trajectories(str(tmp_path), chunk=50)[0]
    assert chunk["inputs"].shape == chunk["targets"].shape == (50, 2)
    assert set(chunk["times"].tolist()) <= set(drawn["times"].tolist())
    ends_ = TrajectoryEnds(str(tmp_path), chunk=20)
    assert len(ends_) == 1
    assert torch.equal(ends_[0]["targets"], torch.from_numpy(ends[300:]))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"teacher": learned_teacher(0, NOISE)}, "unconditional"),
        ({"teacher": learned_teacher(0, NOISE), "guidance": (1.0, 1.0)}, "unconditional"),
        ({"guidance": (6.0, 1.0)}, "range of guidance"),
        ({"guidance": 4.0}, r"job\.guidance: not a range of guidance"),
        ({"shape": 2}, r"job\.shape: not a shape"),
        ({"shape": (0,)}, r"shape\[0\]"),
    ],
)
def test_trajectories_that_cannot_be_are_refused(tmp_path, wrong, match):
    """Trajectories without guidance teach adapters nothing."""
    options = {"teacher": learned_teacher(4, NOISE), "shape": (2,), "trajectories": 2, "steps": 2, **wrong}
    with pytest.raises(UsageError, match=match):
        collect_trajectories(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_trajectories_of_another_type_are_refused(tmp_path):
    """Targets that are noise, taken for velocities, train adapters that are wrong at every step, and the loss falls."""
    collect_trajectories(tmp_path, learned_teacher(4, NOISE, "v"), (2,), trajectories=2, held_out=0, steps=2)
    chunk = Trajectories(str(tmp_path), chunk=4)[0]
    draw = Draw(chunk["inputs"], chunk["labels"], more=chunk)
    with pytest.raises(UsageError, match=r"model\.student\.pred_type.*'v'.*'eps'"):
        agd().student_loss(draw)
    agd(teacher=learned_teacher(4, NOISE, "v"), pred_type="v").student_loss(draw)


def test_what_cannot_be_guided_is_refused(tmp_path):
    """Each would train, and sample something else than it says."""
    with pytest.raises(UsageError, match="unconditional"):
        MODELS.build(student(0, NOISE, "eps", type="kdgen.GuidedDenoiser", adapters=ADAPTERS))
    with pytest.raises(UsageError, match="has adapters"):
        AGD(student(4, NOISE, "eps"), learned_teacher(4, NOISE))
    with pytest.raises(UsageError, match=r"adapters\.at"):
        MODELS.build(student(4, NOISE, "eps", type="kdgen.GuidedDenoiser", adapters={**ADAPTERS, "at": "hiden.*"}))
    with pytest.raises(UsageError, match=r"adapters\.time.*'time'"):
        MODELS.build(student(4, NOISE, "eps", type="kdgen.GuidedDenoiser", adapters={**ADAPTERS, "time": "tme"}))
    with pytest.raises(UsageError, match=r"adapters\.widht.*width"):
        MODELS.build(student(4, NOISE, "eps", type="kdgen.GuidedDenoiser", adapters={**ADAPTERS, "widht": 8}))
    with pytest.raises(UsageError, match=r"adapters\.at"):
        MODELS.build(student(4, NOISE, "eps", type="kdgen.GuidedDenoiser", adapters={"width": 8}))
    early = MODELS.build(student(4, NOISE, "eps", type="kdgen.GuidedDenoiser", adapters={**ADAPTERS, "at": "first"}))
    with pytest.raises(UsageError, match=r"adapters\.time: an adapter runs before"):  # it would never hear the time
        early.predict(torch.randn(2, 2), torch.rand(2), torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="guidance, targets, times"):
        model = agd()
        model.train_step({"inputs": torch.randn(2, 2), "labels": torch.zeros(2, dtype=torch.long)}, optimizers(model))
    with pytest.raises(UsageError, match="no trajectories here"):
        Trajectories(str(tmp_path))


def test_adapters_replace_guidance_on_points(tmp_path):
    """AGD's toy in seconds: at w = 5 one call with adapters is at least twice as near to guided sampling as one without."""
    noise, ring = CosineSchedule(), Ring(modes=4, radius=1.2, std=0.6, classes=4)
    base = MODELS.build(student(4, NOISE, "v"))
    optimizer = torch.optim.Adam(base.parameters(), 5e-3)
    for _ in range(200):
        labels = torch.randint(4, (128,))
        dropped = labels.masked_fill(torch.rand(128) < 0.15, 4)
        optimizer.zero_grad()
        base.denoising_loss(ring.sample(128, labels), dropped).backward()
        optimizer.step()
    teacher = {"type": "kdhub.ModelTeacher", "own_weights": True, "model": base}
    collect_trajectories(tmp_path, teacher, (2,), trajectories=100, held_out=0, steps=8, guidance=(1.0, 6.0))
    model, data = agd(teacher=teacher, pred_type="v"), Trajectories(str(tmp_path), 128)
    optimizer = torch.optim.Adam(model.student.adapters.parameters(), 5e-3)
    model.train()
    for _ in range(200):
        chunk = data[0]
        draw = Draw(chunk["inputs"], chunk["labels"], more=chunk)
        optimizer.zero_grad()
        model.student_loss(draw)["loss_guidance"].backward()
        optimizer.step()
    x, labels = torch.randn(200, 2), torch.arange(200) % 4
    guided, alone = (ddim(model.teacher, x, labels, noise.t_list(8), scale) for scale in (5.0, 1.0))
    ours = ddim(model.student.eval(), x, labels, noise.t_list(8), 5.0)
    assert float((ours - guided).square().mean().sqrt()) < 0.5 * float((alone - guided).square().mean().sqrt())


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
def test_the_three_stages_run_by_one_command_and_resume(tmp_path):
    """A stage that finds nothing of the one before it; batches of random states that differ after a power cut."""
    few = [
        "trajectories:teacher:train_cfg.max_iters=4",
        "trajectories:teacher:train_cfg.val_interval=4",
        "trajectories:job.trajectories=20",
        "trajectories:job.held_out=10",
        "trajectories:job.steps=3",
        "model.student.steps=3",
        "train_cfg.max_iters=8",
        "train_cfg.val_interval=8",
    ]
    cfg = load_config("kdgen:ring-agd", few)
    cfg.predecessors.trajectories = {
        "config": "kdgen:ring-trajectories",
        "cfg_options": dict(cfg.predecessors.trajectories.cfg_options),
    }
    cfg.work_dir = str(tmp_path / "first")
    assert set(train(cfg).metrics) == {"rmse"}
    assert sample([str(tmp_path / "first"), "-n", "4", "--guidance-scale", "3"]) == 0
    cfg.pop("predecessors")
    folder = tmp_path / "first/trajectories"
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.folder = str(folder)
    cfg.model.teacher.model = str(folder / "teacher/student/model.py")
    cfg.model.teacher.checkpoint = str(folder / "teacher/student/model.safetensors")
    cfg.default_hooks = {"checkpoint": {"interval": 2}}
    assert_resume_exact(cfg, at=5, tmp_path=tmp_path / "killed")
