"""Dual heads: two heads that do not hear each other, and gradients of which one yields."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from safetensors.torch import load_file

from kdcls import plugin
from kdcls.aligned import aligned
from kdhub.api import check_config, init, load_config, train


def test_the_cards_values():
    """g₂ loses what points against g₁; the other way round the labels would yield."""
    (total,) = aligned([torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])])
    assert total.tolist() == [1.0, 1.0]
    assert aligned([torch.zeros(2)], [torch.tensor([-1.0, 1.0])])[0].tolist() == [-1.0, 1.0]


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_what_is_left_does_not_point_against_the_labels(seed):
    """The projection is over all parameters at once, not tensor by tensor."""
    generator = torch.Generator().manual_seed(seed)
    first, second = ([torch.randn(3, generator=generator), torch.randn(2, 2, generator=generator)] for _ in range(2))
    total = aligned(first, second)
    one, two, found = (torch.cat([part.flatten() for part in side]) for side in (first, second, total))
    rest = found - one
    assert rest @ one >= -1e-4
    if one @ two >= 0:
        torch.testing.assert_close(rest, two, rtol=1e-4, atol=1e-5)
    else:
        assert (rest @ one).item() == pytest.approx(0, abs=1e-4)
        torch.testing.assert_close(rest, two - (two @ one) / (one @ one) * one, rtol=1e-4, atol=1e-4)


def model(type_="kdcls.AlignedDistiller", **second):
    """A student with a second head, and a teacher with random weights."""
    init()
    torch.manual_seed(0)
    net = {"type": "kdcls.DigitNet", "width": 4}
    head = {"type": "kdcls.AuxiliaryHead", "in_features": 128, "num_classes": 10, **second}
    return MODELS.build(
        {
            "type": type_,
            "student": {
                "type": "kdhub.TorchModel",
                "net": net,
                "criterion": {"type": "torch.nn.CrossEntropyLoss"},
            },
            "teacher": {
                "type": "kdhub.ModelTeacher",
                "model": {"type": "kdhub.TorchModel", "net": {**net, "width": 8}},
                "own_weights": True,
            },
            "objectives": {
                "second_head": {
                    "loss": {"type": "kdcls.BinaryKL"},
                    "student": {"type": "kdhub.ModuleInput", "path": "classifier"},
                    "teacher": "classifier",
                    "adapter": head,
                }
            },
        }
    )


BATCH = {"inputs": torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), "labels": torch.arange(8)}


def losses(one, batch=BATCH):
    return one(**one.data_preprocessor(batch, training=True), mode="loss")


def test_each_head_hears_its_own_loss_alone():
    """On one classifier the two losses fight, which is why there are two."""
    one = model("kdhub.Distiller")
    losses(one)["loss_second_head"].backward()
    assert one.student.net.classifier.weight.grad is None
    assert one.student.net.features[0].weight.grad.any()
    one = model("kdhub.Distiller")
    losses(one)["loss_task"].backward()
    assert all(parameter.grad is None for parameter in one.objectives.parameters())


def gradients(one, names, batch=BATCH):
    found = losses(one, batch)
    parameters = list(one.parameters())
    pulls = torch.autograd.grad(sum(found[name] for name in names), parameters, allow_unused=True)
    return [torch.zeros_like(p) if pull is None else pull for p, pull in zip(parameters, pulls, strict=True)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_step_takes_the_aligned_gradient(sign):
    """With the teacher's loss turned round the gradients disagree; what arrives in the optimiser is checked in both cases."""
    one = model()
    for objective in one.objectives.values():
        objective.loss.register_forward_hook(lambda _, __, value: sign * value)
    expected = aligned(gradients(one, ["loss_task"]), gradients(one, ["loss_second_head"]))
    before = [parameter.detach().clone() for parameter in one.parameters()]
    wrapper = OptimWrapper(torch.optim.SGD(one.parameters(), lr=1.0))
    log = one.train_step(BATCH, wrapper)
    for old, new, pull in zip(before, one.parameters(), expected, strict=True):
        torch.testing.assert_close(old - new.detach(), pull, rtol=1e-3, atol=1e-5)
    assert log["loss"].item() == pytest.approx((log["loss_task"] + log["loss_second_head"]).item(), rel=1e-5)


def test_accumulated_steps_are_scaled_as_any_other():
    """The loss that carries the gradient passes through mmengine's wrapper: half a batch counts half."""
    one = model()
    expected = aligned(gradients(one, ["loss_task"]), gradients(one, ["loss_second_head"]))
    wrapper = OptimWrapper(torch.optim.SGD(one.parameters(), lr=1.0), accumulative_counts=2)
    wrapper.initialize_count_status(one, 0, 2)
    one.train_step(BATCH, wrapper)
    for parameter, pull in zip(one.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, pull / 2, rtol=1e-3, atol=1e-5)


def test_the_main_head_answers_and_validation_computes_nothing_twice():
    """The second head is gone from predictions, and without gradients there is nothing to align."""
    one = model(hidden=16).eval()
    with torch.no_grad():
        total, _ = one.parse_losses({"loss_task": torch.tensor(1.0), "loss_second_head": torch.tensor(2.0)})
        assert total == 3.0
        images = BATCH["inputs"]
        predicted = torch.stack([sample["pred_score"] for sample in one.val_step(BATCH)])
        assert torch.equal(predicted, one.student.net(images))


def test_a_run_exports_the_student_without_its_second_head(tmp_path):
    """The distiller is another class than the core's: check, training and export must know it for one."""
    path = tmp_path / "dual.py"
    recipe = Path(plugin.__file__).parent / "configs/kl_narrow_teacher-wide_30e_digits.py"
    path.write_text(
        f"_base_ = [{str(recipe)!r}]\npredecessors = dict(_delete_=True)\n"
        "wide = dict(type='kdhub.TorchModel', net=dict(type='kdcls.DigitNet', width=8))\n"
        "head = dict(type='kdcls.AuxiliaryHead', in_features=128, num_classes=10, hidden=16)\n"
        "second = dict(loss=dict(type='kdcls.BinaryKL'), teacher='classifier', adapter=head,\n"
        "    student=dict(type='kdhub.ModuleInput', path='classifier'))\n"
        "model = dict(type='kdcls.AlignedDistiller', objectives=dict(logits=None, second_head=second),\n"
        "    teacher=dict(_delete_=True, type='kdhub.ModelTeacher', model=wide, own_weights=True))\n"
        "train_cfg = dict(_delete_=True, by_epoch=False, max_iters=2, val_interval=2)\n"
        "del wide, head, second\n"
    )
    cfg = load_config(path)
    report = check_config(cfg, init())
    assert report.ok, [one.line() for one in report.findings]
    cfg.work_dir = str(tmp_path / "run")
    result = train(cfg)
    assert result.metrics["top1"] >= 0
    written = load_file(tmp_path / "run/student/model.safetensors")
    assert set(written) == set(model().student.net.state_dict())


_SCRIPT = """
import sys, torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
sys.path.insert(0, sys.argv[2])
from test_aligned import BATCH, model


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    one = model()
    ddp = MMDistributedDataParallel(one)
    part = {name: value[4 * rank :][:4] for name, value in BATCH.items()}
    before = [parameter.detach().clone() for parameter in one.parameters()]
    ddp.train_step(part, OptimWrapper(torch.optim.SGD(one.parameters(), lr=1.0)))
    torch.save([old - new.detach() for old, new in zip(before, one.parameters())], f"{folder}/rank{rank}.pt")


torch.set_num_threads(1)
torch.multiprocessing.start_processes(work, (sys.argv[1],), nprocs=2, start_method="fork")
"""


@pytest.mark.timeout(400)
def test_two_processes_average_their_aligned_gradients(tmp_path):
    """DDP exchanges gradients in hooks of the backward pass; two passes of which it sees neither would leave processes apart."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path), str(Path(__file__).parent)]
    subprocess.run(command, env=environment, check=True)
    found = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    one = model()
    parts = []
    for rank in range(2):
        part = {name: value[4 * rank :][:4] for name, value in BATCH.items()}
        parts.append(aligned(gradients(one, ["loss_task"], part), gradients(one, ["loss_second_head"], part)))
    for first, second, *expected in zip(*found, *parts, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, sum(expected) / 2, rtol=1e-3, atol=1e-5)
