"""The adversarial term of DMD2 and DisBack, its role, and what is said when the discriminator wins; sCD's states."""

import math

import pytest
import torch

from kdgen.discriminator import STEPS_WON, Discriminator
from kdgen.distiller import Draw
from kdgen.methods.consistency import ConsistencyDistillation
from kdgen.methods.score import SwiftBrush
from kdgen.noise import CosineSchedule
from kdgen.toys import exact_teacher, learned_teacher, net, optimizers, student
from kdhub import UsageError
from kdhub.config import check_config, load_config
from kdhub.registry import build, init

GAN = {"type": "kdgen.Discriminator", "net": net(outputs=1)}


def batch(size=16):
    """Noise and data."""
    return {"inputs": torch.randn(size, 2), "real": torch.randn(size, 2) + 5}


def test_the_terms_by_hand():
    """The card: 5e-3 softplus(-D) for the student, 1e-2 (softplus(D made) + softplus(-D real)) for the discriminator."""
    model = Discriminator(net(outputs=1))
    model.logits = lambda x, *_: x[:, 0]
    made, real = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[math.log(7.0), 0.0]])
    loss, right = model.own_loss(real, made, None, CosineSchedule())
    assert float(loss) == pytest.approx(1e-2 * (math.log(4.0) + math.log(8 / 7)))
    assert float(right) == 0.5
    assert float(model.student_term(made, None, CosineSchedule())) == pytest.approx(5e-3 * math.log(4 / 3))


def test_each_loss_reaches_its_role_alone():
    """A student that learns from the discriminator's own loss helps it to win."""
    model = SwiftBrush(student(), learned_teacher(), discriminator=GAN)
    assert model.roles_that_train == ("student", "fake_score", "discriminator")
    for role, loss_of in model.losses().items():
        model.zero_grad()
        with model._alone(role):
            terms = loss_of(Draw(torch.randn(8, 2), None, more={"real": torch.randn(8, 2)}))
        sum(value for name, value in terms.items() if "loss" in name).backward()
        assert {name.partition(".")[0] for name, one in model.named_parameters() if one.grad is not None} == {role}
    assert SwiftBrush(student(), learned_teacher()).roles_that_train == ("student", "fake_score")


def test_a_discriminator_that_wins_is_said_once_and_remembered():
    """Its loss is then 0 and so is what the student learns from it; the curves look like convergence."""
    model = SwiftBrush(student(), learned_teacher(), discriminator=GAN)
    model.discriminator.logits = lambda x, *_: x[:, 0] - 2
    model.made = lambda draw: draw.noise.clamp(max=1)
    draw = Draw(torch.randn(8, 2), None, more={"real": torch.full((8, 2), 5.0)})
    for _ in range(STEPS_WON):
        assert "won" not in model._said
        model.discriminator_loss(draw)
    other = SwiftBrush(student(), learned_teacher(), discriminator=GAN)
    other.load_guard_state(model.guard_state())
    assert "won" in other._said
    assert other._watch.steps == STEPS_WON


def test_a_step_trains_all_three():
    """A role that is left out of a step looks the same in the log."""
    model = SwiftBrush(student(), learned_teacher(), discriminator=GAN)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):  # in the first step both scores agree
        logs = model.train_step(batch(), optimizers(model, 0.1))
    moved = {
        name.partition(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"student", "fake_score", "discriminator", "position"}
    assert {"student.loss_adversarial", "discriminator.told_apart"} <= set(logs)


def test_what_is_missing_is_said():
    """Without data the discriminator compares with nothing; without an optimizer it never learns."""
    model = SwiftBrush(student(), learned_teacher(), discriminator=GAN)
    with pytest.raises(UsageError, match=r"the batch has none.*real") as said:
        model.train_step({"inputs": torch.randn(4, 2)}, optimizers(model))
    data = build("dataset", eval(said.value.fix))  # what the message tells to write
    assert data[0]["real"].shape == data[0]["inputs"].shape
    with pytest.raises(UsageError, match="not a discriminator"):
        SwiftBrush(student(), learned_teacher(), discriminator=net())
    cfg = load_config("kdgen:ring-swiftbrush")
    cfg.model.discriminator = GAN
    assert [one.path for one in check_config(cfg, init()).errors] == ["optim_wrapper.discriminator"]


def test_data_come_along_with_the_noise():
    """Data of another class than the noise beside them would teach the discriminator classes."""
    ring = {"type": "kdgen.RingData", "chunks": 3, "chunk": 8, "classes": 4}
    data = build("dataset", {"type": "kdgen.NoiseDataset", "shape": (2,), "chunk": 8, "classes": 4, "real": ring})
    own = build("dataset", ring)
    assert torch.equal(data[4]["real"], own[1]["inputs"])
    assert torch.equal(data[4]["labels"], own[1]["labels"])
    noise = {"type": "kdgen.NoiseDataset", "shape": (2,), "chunk": 8}
    for wrong, got in (
        ({"chunk": 9, "real": ring}, r"8, 2"),
        ({"classes": 4, "real": {**ring, "classes": 0}}, "no labels"),
        ({"classes": 2, "real": ring}, "labels from 0 to 3"),
    ):
        with pytest.raises(UsageError, match=rf"NoiseDataset\.real.*{got}"):
            build("dataset", {**noise, **wrong})[0]


@pytest.mark.parametrize("kind", ["plain", "classes", "dit"])
def test_labels_go_to_the_discriminators_that_know_some(kind):
    """A U-Net without classes stops at the first label; a DiT drops a tenth of them by itself, and takes them for none."""
    pytest.importorskip("diffusers")
    unet = {"type": "diffusers.UNet2DModel", "in_channels": 1, "out_channels": 1, "layers_per_block": 1}
    unet |= {"block_out_channels": (8, 8), "norm_num_groups": 4, "sample_size": 8}
    unet |= {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    dit = {"type": "diffusers.DiTTransformer2DModel", "num_attention_heads": 2, "attention_head_dim": 4}
    dit |= {"in_channels": 1, "num_layers": 1, "sample_size": 8, "norm_num_groups": 4, "num_embeds_ada_norm": 3}
    nets = {"plain": unet, "classes": {**unet, "num_class_embeds": 4}, "dit": dit}
    model = Discriminator(nets[kind]).train()
    with torch.no_grad():
        for one in model.parameters():
            torch.nn.init.normal_(one, std=0.3)
        x, noise = torch.randn(64, 1, 8, 8), CosineSchedule()
        found = []
        for label in (0, 0, 1):
            torch.manual_seed(0)
            found.append(model.logits(x, torch.full((64,), label), noise))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2]) == (kind == "plain")


@pytest.mark.parametrize("momentum", [1, 0.0, 1.5])
def test_an_average_that_is_none_is_refused(momentum):
    """With 1 the average is the last step's student: the user believes in a smooth one."""
    cfg = load_config("kdgen:ring-swiftbrush")
    cfg.custom_hooks = [{"type": "EMAHook", "momentum": momentum}]
    assert [one.path for one in check_config(cfg, init()).errors] == ["custom_hooks.0.momentum"]


def test_consistency_distillation_trains_on_noised_data():
    """The rival's states are data with noise, at times of a log-normal tangent; TBCM's would make it TBCM."""
    trig = {"type": "kdgen.TrigFlowSchedule"}
    model = ConsistencyDistillation(
        student(noise=trig, pred_type="v"), exact_teacher(noise=trig, pred_type="x0"), log_mean=-1.0, log_std=1e-6
    )
    data = torch.tensor([[3.0, -3.0]]).expand(20_000, 2)
    x, t, velocity = model.roll_out(data, None)
    assert torch.allclose(t, torch.full_like(t, math.atan(math.exp(-1.0))), atol=1e-4)
    cos, sin = t[0].cos(), t[0].sin()
    assert torch.allclose((x.mean(0) / cos), data[0], atol=0.03)
    assert torch.allclose(x.std(0), sin.expand(2), atol=0.01)
    assert torch.allclose(velocity, model.teacher.predict(x, t, to="v"))
    logs = model.train_step({"inputs": torch.randn(8, 2)}, optimizers(model))
    assert logs["student.loss_consistency"].isfinite()
