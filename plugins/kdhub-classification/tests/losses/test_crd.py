"""`CRD`: numbers by hand, a bank that moves once a step, draws that no batch order changes, and an exact resume."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdcls import plugin
from kdcls.digits import Digits
from kdcls.indexed import Indexed
from kdcls.losses.crd import CRD, contrast
from kdhub.config import check_config, load_config
from kdhub.errors import UsageError
from kdhub.registry import init
from kdhub.testing import assert_loss_contract, assert_resume_exact

SPEC = next(spec for spec in plugin.kdhub_losses() if spec.name == "CRD")


def plain(samples=2, negatives=2, momentum=0.5, **more):
    """CRD in two dimensions whose maps change nothing, at temperature 1, with both banks at the axes."""
    loss = CRD(2, 2, samples, negatives, dim=2, temperature=1.0, momentum=momentum, **more)
    with torch.no_grad():
        for layer in (loss.student_map, loss.teacher_map):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        for bank in (loss.student_bank, loss.teacher_bank):
            bank.copy_(torch.eye(2).repeat(samples, 1)[:samples])
    return loss


def test_contract():
    """What an objective takes for granted of every loss."""
    assert_loss_contract(
        CRD,
        arguments={"in_features": 6, "out_features": 5, "samples": 9, "negatives": 7, "dim": 4},
        inputs={
            "student": (4, 6),
            "teacher": (4, 5),
            "labels": lambda: torch.tensor([0, 1, 0, 2]),
            "index": lambda: torch.tensor([3, 8, 0, 5]),
        },
        spec=SPEC,
    )


def test_numbers_by_hand():
    """Two samples, so that every negative of the first is the second, and the loss is one line on paper.

    Z = 2·(e + 1 + 1)/3, c = 2/2 = 1; each side: −log(e/(e + Z)) − 2·log(Z/(1 + Z)).
    """
    loss, point = plain(), torch.tensor([[1.0, 0.0]])
    constant = 2 * (math.e + 2) / 3
    side = -math.log(math.e / (math.e + constant)) - 2 * math.log(constant / (1 + constant))
    value = loss(point, point, torch.tensor([0]), torch.tensor([0]))
    assert value.item() == pytest.approx(2 * side, rel=1e-5)
    assert 2 * side == pytest.approx(2.6418, abs=1e-4)


def test_the_sum_is_that_of_the_paper():
    """P = 3 for the positive, 1 and 1/2 for the negatives, c = 1/2: each share is a fraction to be read off."""
    ratios = torch.tensor([[3.0, 1.0, 0.5]]).log()
    assert contrast(ratios, 0.5).item() == pytest.approx(-math.log((6 / 7) * (1 / 3) * (1 / 2)))


def test_a_bank_moves_with_the_gradient_and_once():
    """A look at the loss, as the guards take, must not train the bank; two backward passes must not move it twice."""
    loss = plain(momentum=0.25)
    student = torch.tensor([[3.0, 4.0]], requires_grad=True)
    arguments = (student, torch.tensor([[0.0, 2.0]]), torch.tensor([7]), torch.tensor([0]))
    loss(*arguments)
    assert torch.equal(loss.student_bank[0], torch.tensor([1.0, 0.0]))
    assert loss.constants.tolist() == [0.0, 0.0]
    value = loss(*arguments)
    value.backward(retain_graph=True)
    # 0.25·(1, 0) + 0.75·(0.6, 0.8) = (0.7, 0.6), and 0.25·(1, 0) + 0.75·(0, 1) = (0.25, 0.75)
    torch.testing.assert_close(loss.student_bank[0], torch.tensor([0.7, 0.6]) / math.sqrt(0.85))
    torch.testing.assert_close(loss.teacher_bank[0], torch.tensor([0.25, 0.75]) / math.sqrt(0.625))
    torch.testing.assert_close(loss.student_bank[1], torch.tensor([0.0, 1.0]))
    assert loss.classes.tolist() == [7, -1]
    kept = loss.state_dict()
    kept = {name: one.clone() for name, one in kept.items()}
    value.backward()
    assert all(torch.equal(one, loss.state_dict()[name]) for name, one in kept.items())


def test_the_constant_is_that_of_the_first_batch():
    """Set anew in each batch, it would hide whether the scores rise, and the loss would be another one."""
    loss = plain()
    arguments = (torch.tensor([0]), torch.tensor([0]))
    loss(torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[1.0, 0.0]]), *arguments).backward()
    first = loss.constants.clone()
    torch.testing.assert_close(first, torch.full((2,), 2 * (math.e + 2) / 3))
    loss(torch.tensor([[0.0, 1.0]], requires_grad=True), torch.tensor([[0.0, 1.0]]), *arguments).backward()
    assert torch.equal(loss.constants, first)
    assert int(loss.steps) == 2


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=9), st.integers(0, 3), st.data())
def test_negatives_are_of_other_classes(classes, seed, data):
    """A negative of the sample's own class asks the student to part what belongs together."""
    classes = torch.tensor(classes)
    if len(classes.unique()) < 2:
        return
    loss = plain(samples=len(classes), negatives=40, seed=seed)
    loss.classes.copy_(classes)
    index = torch.tensor(data.draw(st.permutations(range(len(classes)))))
    found = loss._drawn(index, classes[index])
    assert not (classes[found] == classes[index].unsqueeze(1)).any()
    # the batch in another order draws the same
    torch.testing.assert_close(loss._drawn(index.flip(0), classes[index].flip(0)), found.flip(0))
    everything = plain(samples=len(classes), negatives=40, seed=seed, among="all")._drawn(index, classes[index])
    assert not (everything == index.unsqueeze(1)).any()
    assert 0 <= int(everything.min()) <= int(everything.max()) < len(classes)


def test_each_step_draws_others():
    """The same negatives for ever would leave most of the bank unused."""
    loss = plain(samples=50, negatives=8, among="all")
    index = torch.arange(2)
    first = loss._drawn(index, index)
    assert torch.equal(loss._drawn(index, index), first)
    loss.steps += 1
    assert not torch.equal(loss._drawn(index, index), first)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"index": torch.tensor([0, 9])}, "no row in the bank.*samples to the length"),
        ({"index": torch.tensor([0.0, 1.0])}, "cannot read its index"),
        ({"labels": torch.tensor([[0.5, 0.5], [1.0, 0.0]])}, "cannot read its labels.*mixup"),
        ({"student": torch.ones(2, 3)}, "features of other widths"),
        ({"labels": torch.tensor([0, 0])}, "no negatives"),
    ],
)
def test_what_cannot_be_compared_is_refused(changed, message):
    """Soft labels and places of another data set would be read as rows of the bank."""
    loss = plain()
    values = {
        "student": torch.ones(2, 2),
        "teacher": torch.ones(2, 2),
        "labels": torch.tensor([0, 1]),
        "index": torch.tensor([0, 1]),
    }
    with pytest.raises(UsageError, match=message):
        loss(**values | changed)


@pytest.mark.parametrize(
    "arguments", [{"samples": 1}, {"negatives": 0}, {"momentum": 1.0}, {"temperature": 0.0}, {"among": "others"}]
)
def test_arguments_are_checked_at_once(arguments):
    """A momentum of 1 would leave the banks as they were drawn, and the loss would fall all the same."""
    with pytest.raises(UsageError, match=f"bad {next(iter(arguments))}"):
        CRD(**{"in_features": 2, "out_features": 2, "samples": 4} | arguments)


def test_samples_say_their_place():
    """A place of the shuffled order would fill the bank with other samples' features."""
    data = Indexed(Digits())
    assert [data[place]["index"] for place in (0, 5)] == [0, 5]
    assert data.fingerprint() == Digits().fingerprint()
    with pytest.raises(UsageError, match="cannot get its index"):
        Indexed([(1, 2)])[0]
    with pytest.raises(UsageError, match="cannot get its index"):
        Indexed(data)[0]


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
def test_the_recipe_resumes_exactly(tmp_path):
    """A bank, its constants or its number of steps that a checkpoint left out would begin anew in silence."""
    report = check_config(load_config("kdcls:digits-crd"), init())
    assert not report.findings, [one.line() for one in report.findings]
    cfg = load_config("kdcls:digits-crd")
    # killed in the first stage, it would say nothing of the second; what the teacher knows does not matter here
    cfg.pop("predecessors")
    wide = {"type": "kdhub.TorchModel", "net": {"type": "kdcls.DigitNet", "width": 32}}
    cfg.model.teacher = {"type": "kdhub.ModelTeacher", "model": wide, "own_weights": True}
    cfg.train_cfg = {"by_epoch": False, "max_iters": 8, "val_interval": 8}
    cfg.default_hooks = {"checkpoint": {"interval": 2}, "baseline": None}
    cfg.custom_hooks = []
    assert_resume_exact(cfg, at=5, tmp_path=tmp_path)
