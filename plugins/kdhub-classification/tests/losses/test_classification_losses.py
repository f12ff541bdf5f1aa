"""The losses of kdcls: the cards' numbers and properties, what they share, and what they refuse."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdcls.losses.angle import AngleRelational
from kdcls.losses.attention import AttentionTransfer
from kdcls.losses.binary_kl import BinaryKL
from kdcls.losses.dkd import DKD
from kdcls.losses.ofa import OFAKD
from kdcls.losses.pld import PLD
from kdcls.losses.rescaled import RescaledCrossEntropy, RescaledKL, rescaled
from kdcls.losses.sinkd import SinKD, sinkhorn_plan
from kdhub.api import MSE, Relational, TemperatureKL, UsageError, find
from kdhub.testing import assert_loss_contract

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)

LABELLED = (PLD, DKD, OFAKD)
LOGITS = (*LABELLED, SinKD, BinaryKL, RescaledKL)


def batch(seed=0, samples=6, classes=7):
    """Logits of both sides, and labels."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(samples, classes, generator=generator) for _ in range(2))
    return student, teacher, torch.randint(0, classes, (samples,), generator=generator)


def call(loss, student, teacher, labels, **more):
    """Call a loss with the labels if it takes them."""
    return loss(student, teacher, labels, **more) if isinstance(loss, LABELLED) else loss(student, teacher, **more)


def gradient(function, *values):
    """Gradient by the first value."""
    first = values[0].clone().requires_grad_()
    return torch.autograd.grad(function(first, *values[1:]), first)[0]


# ---------------------------------------------------------------- what all of them promise


@pytest.mark.parametrize("loss", LOGITS)
def test_logit_losses_keep_the_contract(loss):
    """A loss that overflows in half precision, or trains the teacher, fails in the middle of somebody's run."""
    inputs = {"student": (4, 6), "teacher": (4, 6), "mask": lambda: torch.tensor([1, 1, 0, 1])}
    if loss in LABELLED:
        inputs["labels"] = lambda: torch.tensor([0, 5, 2, 2])
    assert_loss_contract(loss, inputs=inputs, spec=find(f"kdcls.{loss.__name__}"))
    del inputs["mask"]
    assert_loss_contract(loss, inputs=inputs, spec=find(f"kdcls.{loss.__name__}"))


@pytest.mark.parametrize(
    ("loss", "student", "teacher"),
    [(AttentionTransfer, (3, 4, 5, 6), (3, 4, 5, 6)), (AngleRelational, (5, 4), (5, 4))],
)
def test_feature_losses_keep_the_contract(loss, student, teacher):
    """A norm of 0 has no gradient in the plain formula."""
    assert_loss_contract(loss, inputs={"student": student, "teacher": teacher}, spec=find(f"kdcls.{loss.__name__}"))


@pytest.mark.parametrize("loss", LOGITS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-6), (torch.float16, 1e-6)])
def test_half_precision_computes_in_float32(loss, dtype, tolerance):
    """With inputs that half precision holds exactly, value and gradient are those of float32: no step may be taken in half."""
    student, teacher, labels = batch(3)
    student, teacher = student.to(dtype), teacher.to(dtype)
    exact = call(loss(), student.float(), teacher.float(), labels)
    assert call(loss(), student, teacher, labels).item() == pytest.approx(exact.item(), rel=tolerance)


@pytest.mark.parametrize("loss", LOGITS)
def test_a_masked_class_counts_as_if_it_were_not_there(loss):
    """A vocabulary padded to a multiple of 64 would take a share of each softmax, whatever stands in the padding."""
    student, teacher, labels = batch(1)
    padded = [torch.cat([side, torch.full((6, 2), math.nan)], 1) for side in (student, teacher)]
    there = torch.tensor([[True] * 7 + [False] * 2])
    expected = call(loss(), student, teacher, labels)
    torch.testing.assert_close(call(loss(), *padded, labels, mask=there), expected, rtol=1e-5, atol=1e-6)
    pull = gradient(lambda value: call(loss(), value, padded[1], labels, mask=there), padded[0])
    assert pull.isfinite().all()
    assert (pull[:, 7:] == 0).all()
    out = [torch.cat([side, torch.full((6, 2), -math.inf)], 1) for side in (student, teacher)]
    torch.testing.assert_close(call(loss(), *out, labels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", LOGITS)
def test_a_masked_sample_counts_as_if_it_were_not_there(loss):
    """A sample that is padding, NaN included, would pull at the student."""
    student, teacher, labels = batch(2)
    mask = torch.tensor([1, 1, 1, 1, 0, 0])
    expected = call(loss(), student[:4], teacher[:4], labels[:4])
    student[4:] = math.nan
    torch.testing.assert_close(call(loss(), student, teacher, labels, mask=mask), expected)
    pull = gradient(lambda value: call(loss(), value, teacher, labels, mask=mask), student)
    assert pull.isfinite().all()
    assert (pull[4:] == 0).all()


@pytest.mark.parametrize("loss", LABELLED)
def test_samples_without_a_label_do_not_count(loss):
    """Label -100 is what `kdcls.Digits` and torch's cross-entropy mean by 'none'."""
    student, teacher, labels = batch(4)
    some = labels.clone()
    some[3:] = -100
    torch.testing.assert_close(loss()(student, teacher, some), loss()(student[:3], teacher[:3], labels[:3]))
    halved = loss(reduction="samples")(student, teacher, some)
    torch.testing.assert_close(halved, loss()(student[:3], teacher[:3], labels[:3]) / 2)


@pytest.mark.parametrize("loss", LOGITS)
def test_a_batch_of_one_works(loss):
    """The last batch of an epoch may hold one sample."""
    student, teacher, labels = batch(5, samples=1)
    pull = gradient(lambda value: call(loss(), value, teacher, labels), student)
    assert pull.isfinite().all()
    assert pull.any()


@pytest.mark.parametrize("loss", LOGITS)
@pytest.mark.parametrize(
    ("student", "teacher"), [((4, 6), (4, 7)), ((4, 6), (3, 6)), ((4, 6, 2), (4, 6, 2)), ((4, 1), (4, 1))]
)
def test_other_classes_or_samples_are_refused(loss, student, teacher):
    """A class count that differs, or is 1, would broadcast to a plausible loss."""
    with pytest.raises(UsageError, match=f"{loss.__name__}"):
        call(loss(), torch.zeros(student), torch.zeros(teacher), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("loss", LOGITS)
@pytest.mark.parametrize("mask", [torch.ones(4, 3, dtype=torch.bool), torch.ones(4), [1, 1, 1, 1]])
def test_masks_that_do_not_fit_are_refused(loss, mask):
    """A mask of weights, or of other classes, would be read as something else."""
    with pytest.raises(UsageError, match="mask over the logits"):
        call(loss(), torch.zeros(4, 6), torch.zeros(4, 6), torch.zeros(4, dtype=torch.long), mask=mask)


@pytest.mark.parametrize("loss", [PLD, DKD])
@pytest.mark.parametrize("labels", [torch.full((4, 6), 1 / 6), torch.ones(4), torch.ones(4, 6, dtype=torch.long)])
def test_soft_labels_are_refused(loss, labels):
    """Mixed labels have no first class; their rounding would be a label that nobody gave."""
    with pytest.raises(UsageError, match="soft, as mixup makes them"):
        loss()(torch.zeros(4, 6), torch.zeros(4, 6), labels)


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("label", [6, -1, 255])
def test_labels_outside_the_class_list_are_refused(loss, label):
    """Torch would say 'index out of bounds', and on a GPU end the process's use of the device."""
    labels = torch.tensor([0, 1, label, 2])
    with pytest.raises(UsageError, match=rf"no class of the student .*got {label}"):
        loss()(torch.zeros(4, 6), torch.zeros(4, 6), labels)
    with pytest.raises(UsageError, match=r"cannot read the labels"):
        loss()(torch.zeros(4, 6), torch.zeros(4, 6), labels[:3])


@pytest.mark.parametrize("loss", LABELLED)
def test_a_label_that_the_mask_leaves_out_is_refused(loss):
    """Its loss would be 1e30, which is finite, so that no guard stops the run."""
    mask = torch.tensor([[True, True, True, False]])
    with pytest.raises(UsageError, match="leaves out"):
        loss()(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 3]), mask)


@pytest.mark.parametrize("loss", LOGITS)
def test_numbers_without_meaning_are_refused(loss):
    """A temperature of 0 divides by 0 after an hour of loading data."""
    for argument in ("temperature", "exponent", "eps", "alpha"):
        if argument in loss.__init__.__code__.co_varnames:
            with pytest.raises(UsageError, match=f"bad {argument}"):
                loss(**{argument: -1.0})


# ---------------------------------------------------------------- PLD: card, sections 3, 7 and 8


def plain_pld(student, teacher, labels, weights):
    """The definition as a loop."""
    total = 0.0
    for s, t, y, q in zip(student, teacher, labels.tolist(), weights, strict=True):
        others = sorted((c for c in range(len(t)) if c != y), key=lambda c: (-t[c].item(), c))
        order = [y, *others]
        total += sum(q[order[k]] * (s[order[k:]].logsumexp(0) - s[order[k]]) for k in range(len(order)))
    return total / len(student)


def test_pld_has_the_cards_values():
    """A ranking by rising logits, or weights in class order, gives a loss that falls all the same."""
    teacher, label, student = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1]), torch.zeros(1, 3)
    assert PLD()(student, teacher, label).item() == pytest.approx(0.729972, abs=1e-6)
    assert PLD()(teacher, teacher, label).item() == pytest.approx(0.428919, abs=1e-6)
    pull = gradient(lambda s: PLD()(s, teacher, label), student)
    torch.testing.assert_close(pull, torch.tensor([[-0.251044, -0.163152, 0.414197]]), atol=1e-6, rtol=0)


@given(seed=seeds, temperature=st.floats(0.5, 5))
@few
def test_pld_is_its_definition(seed, temperature):
    """The running log-sum runs over the classes not yet chosen; the other way round it is another loss."""
    student, teacher, labels = batch(seed)
    expected = plain_pld(student, teacher, labels, (teacher / temperature).softmax(1))
    torch.testing.assert_close(PLD(temperature)(student, teacher, labels), expected, rtol=1e-4, atol=1e-5)


def test_pld_with_a_sure_teacher_that_is_right_is_the_cross_entropy():
    """All weight on the first rank: one-hot weights reproduce the cross-entropy."""
    student, _, labels = batch(7)
    sure = functional.one_hot(labels, 7) * 200.0
    torch.testing.assert_close(PLD()(student, sure, labels), functional.cross_entropy(student, labels))


@given(seed=seeds)
@few
def test_pld_ignores_an_offset_and_the_order_of_classes(seed):
    """Softmax ignores offsets; a class's number means nothing. The gradient of each row sums to 0."""
    student, teacher, labels = batch(seed)
    value = PLD()(student, teacher, labels)
    shifted = PLD()(student + torch.arange(6.0).unsqueeze(1), teacher, labels)
    torch.testing.assert_close(shifted, value, rtol=1e-4, atol=1e-5)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    permuted = PLD()(student[:, order], teacher[:, order], order.argsort()[labels])
    torch.testing.assert_close(permuted, value, rtol=1e-4, atol=1e-5)
    pull = gradient(lambda s: PLD()(s, teacher, labels), student)
    torch.testing.assert_close(pull.sum(1), torch.zeros(6), atol=1e-6, rtol=0)


@given(seed=seeds, share=st.floats(0, 1))
@few
def test_pld_is_convex(seed, share):
    """A sign error in one of its terms would leave a loss with minima of its own."""
    one, teacher, labels = batch(seed)
    two = batch(seed + 1)[0]
    between = PLD()(share * one + (1 - share) * two, teacher, labels)
    assert between <= share * PLD()(one, teacher, labels) + (1 - share) * PLD()(two, teacher, labels) + 1e-5


@given(seed=seeds)
@few
def test_pld_prefers_the_teachers_order(seed):
    """Exchanging two neighbours of the ranking into their order never costs, where the first has the larger weight."""
    student, teacher, labels = batch(seed, samples=1)
    order = [labels.item(), *(c for c in teacher[0].argsort(descending=True).tolist() if c != labels.item())]
    for a, b in itertools.pairwise(order):
        if teacher[0, a] < teacher[0, b]:
            continue
        high, low = student[0, [a, b]].max(), student[0, [a, b]].min()
        right, wrong = student.clone(), student.clone()
        right[0, a], right[0, b] = high, low
        wrong[0, a], wrong[0, b] = low, high
        assert PLD()(right, teacher, labels) <= PLD()(wrong, teacher, labels) + 1e-5


def test_pld_passes_a_check_of_its_gradient():
    """Half a gradient trains too, more slowly."""
    student, teacher, labels = batch(8, samples=3, classes=4)
    student, teacher = student.double().requires_grad_(), teacher.double()
    assert torch.autograd.gradcheck(lambda s: PLD(2.0)(s, teacher, labels), student)


def test_pld_learns_weakly_what_the_teacher_finds_absurd():
    """The label stays first, with the teacher's small weight: a wrong label is not forced on the student."""
    student, label = torch.zeros(1, 3), torch.tensor([0])
    absurd, likely = torch.tensor([[-6.0, 1.0, 0.0]]), torch.tensor([[6.0, 1.0, 0.0]])
    pulls = [gradient(lambda s, t=teacher: PLD()(s, t, label), student)[0, 0] for teacher in (absurd, likely)]
    assert pulls[1] < pulls[0] < 0


def test_pld_with_equal_teacher_logits_repeats():
    """An unstable sort gives another ranking on another machine."""
    student, _, labels = batch(9)
    value = PLD()(student, torch.zeros(6, 7), labels)
    expected = plain_pld(student, torch.zeros(6, 7), labels, torch.full((6, 7), 1 / 7))
    torch.testing.assert_close(value, expected)


# ---------------------------------------------------------------- SinKD: card, sections 3 and 8

_FAR = torch.tensor([[4.0, 0.0], [0.0, 4.0]])


def test_sinkd_has_the_cards_values():
    """The plan's columns sum to 1, not to 1/B, and the cost is a sum; published weights rest on both."""
    student = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert 1e-3 * SinKD()(student, _FAR).item() == pytest.approx(5.991e-4, abs=1e-7)
    assert SinKD()(student, _FAR).item() == pytest.approx(0.599133, abs=1e-5)
    assert SinKD()(student, _FAR.flip(0)).item() == pytest.approx(0.599133, abs=1e-5)
    assert SinKD()(_FAR, _FAR).item() == pytest.approx(7.39e-7, abs=1e-8)
    near = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    assert SinKD()(near, _FAR).item() == pytest.approx(1.458196, abs=1e-5)
    cost = torch.cdist((near / 2).softmax(1), (_FAR / 2).softmax(1), p=1)
    assert sinkhorn_plan(cost, 0.1, 20)[0, 0].item() == pytest.approx(0.769530, abs=1e-5)
    assert SinKD(reduction="mean")(near, _FAR).item() == pytest.approx(1.458196 / 2, abs=1e-5)


def test_the_companion_of_sinkd_is_in_the_core():
    """The card's sample-wise term, a soft cross-entropy without τ², is the core's KL plus the teacher's entropy."""
    student = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    p = (_FAR / 3).softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    assert (TemperatureKL(3.0)(student, _FAR) / 9 + entropy).item() == pytest.approx(0.553442, abs=1e-6)
    assert functional.cross_entropy(student, torch.tensor([0, 1])).item() == pytest.approx(0.126928, abs=1e-6)


@given(seed=seeds)
@few
def test_sinkd_reads_both_batches_as_sets(seed):
    """Which row belongs to which plays no part; column sums are 1, and the cost lies between 0 and 2B."""
    student, teacher, _ = batch(seed)
    value = SinKD()(student, teacher)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(SinKD()(student, teacher[order]), value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(SinKD()(student[order], teacher), value, rtol=1e-4, atol=1e-5)
    assert 0 <= value <= 12
    cost = torch.cdist((student / 2).softmax(1), (teacher / 2).softmax(1), p=1)
    torch.testing.assert_close(sinkhorn_plan(cost, 0.1, 20).sum(0), torch.ones(6), atol=1e-6, rtol=0)


@given(seed=seeds)
@few
def test_sinkd_in_the_log_domain_is_the_plain_form(seed):
    """The authors divide exponentials; ours must give their numbers."""
    student, teacher, _ = batch(seed)
    ours, theirs = (student / 2).softmax(1), (teacher / 2).softmax(1)
    cost = (ours.unsqueeze(1) - theirs.unsqueeze(0)).abs().sum(2)
    plan = (-cost / 0.1).exp()
    for _ in range(20):
        plan = plan / plan.sum(1, keepdim=True)
        plan = plan / plan.sum(0, keepdim=True)
    torch.testing.assert_close(SinKD()(student, teacher), (plan * cost).sum(), rtol=1e-5, atol=1e-5)


def test_sinkd_of_one_sample_is_the_distance():
    """The plan of one sample is [[1]]."""
    student, teacher, _ = batch(1, samples=1)
    expected = ((student / 2).softmax(1) - (teacher / 2).softmax(1)).abs().sum()
    torch.testing.assert_close(SinKD()(student, teacher), expected)


def test_sinkd_rests_finite_at_equality_and_knows_that_it_compares_samples():
    """The absolute value has no derivative at 0; a run that splits its batches must be warned."""
    _, teacher, _ = batch(1)
    assert gradient(lambda s: SinKD()(s, teacher), teacher).isfinite().all()
    assert SinKD().depends_on_split == AngleRelational().depends_on_split == "samples"
    with pytest.raises(UsageError, match="square"):
        sinkhorn_plan(torch.zeros(2, 3), 0.1, 2)


# ---------------------------------------------------------------- DKD: the paper's identity


@given(seed=seeds, temperature=st.floats(0.5, 5))
@few
def test_dkd_is_the_kl_divergence_split_at_the_label(seed, temperature):
    """The paper's equation 7: KL = TCKD + (1 − p_y) · NCKD, for each sample."""
    student, teacher, labels = batch(seed)
    p = (teacher / temperature).softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    for one in range(len(labels)):
        row = slice(one, one + 1)
        split = DKD(temperature, 1.0, 1 - p[one].item())(student[row], teacher[row], labels[row])
        torch.testing.assert_close(split, TemperatureKL(temperature)(student[row], teacher[row]), rtol=1e-3, atol=1e-5)


def test_dkd_by_hand():
    """Two even classes beside a label of probability ½: only the label differs, and β multiplies 0."""
    student, teacher = torch.zeros(1, 3), torch.tensor([[math.log(2), 0.0, 0.0]])
    # p = [½, ½], q = [⅓, ⅔]: ½ log(3/2) + ½ log(3/4)
    expected = 0.5 * math.log(9 / 8)
    assert DKD(1.0, 1.0, 8.0)(student, teacher, torch.tensor([0])).item() == pytest.approx(expected, abs=1e-6)
    # label 1: the others are [⅔, ⅓] against [½, ½], and p = [¼, ¾] against [⅓, ⅔]
    target = 0.25 * math.log(3 / 4) + 0.75 * math.log(9 / 8)
    others = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    value = DKD(1.0, 1.0, 8.0)(student, teacher, torch.tensor([1]))
    assert value.item() == pytest.approx(target + 8 * others, abs=1e-5)


# ---------------------------------------------------------------- OFA: card, section 8


def test_ofa_has_the_cards_values():
    """The exponent is on probability plus one-hot, less the one-hot; the paper's form is another number."""
    teacher, student, label = torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.zeros(1, 3), torch.tensor([0])
    assert OFAKD(1.0)(student, teacher, label).item() == pytest.approx(1.098612, abs=1e-6)
    assert OFAKD(1.5)(student, teacher, label).item() == pytest.approx(1.340084, abs=1e-5)
    assert OFAKD(1.5, form="paper")(student, teacher, label).item() == pytest.approx(2.662880, abs=1e-5)


@given(seed=seeds)
@few
def test_ofa_of_exponent_one_is_the_soft_cross_entropy(seed):
    """Its gradient is q − p, the mean over the batch."""
    student, teacher, labels = batch(seed)
    torch.testing.assert_close(
        OFAKD(1.0)(student, teacher, labels),
        functional.cross_entropy(student, teacher.softmax(1)),
        rtol=1e-4,
        atol=1e-5,
    )
    pull = gradient(lambda s: OFAKD(1.0)(s, teacher, labels), student)
    torch.testing.assert_close(pull, (student.softmax(1) - teacher.softmax(1)) / 6, rtol=1e-4, atol=1e-6)


@given(seed=seeds, exponent=st.floats(1.05, 3))
@few
def test_ofa_lifts_the_label_and_lowers_the_others(seed, exponent):
    """Read off the loss of a student that is sure of one class: the weights rise for the label, fall elsewhere, stay above 0."""
    _, teacher, labels = batch(seed, samples=1)
    # with logits -1 for one class and the others' softmax known, the weights are solved from the gradient: Σw · q − w
    student = torch.zeros(1, 7)
    pulls = [gradient(lambda s, e=e: OFAKD(e)(s, teacher, labels), student)[0] for e in (1.0, exponent)]
    totals = [OFAKD(e)(student, teacher, labels) / math.log(7) for e in (1.0, exponent)]
    plain, lifted = (total / 7 - pull for total, pull in zip(totals, pulls, strict=True))
    label = functional.one_hot(labels, 7)[0].bool()
    assert (lifted[label] >= plain[label] - 1e-5).all()
    assert (lifted[~label] <= plain[~label] + 1e-5).all()
    assert (lifted >= -1e-5).all()


def test_ofa_takes_the_first_of_the_largest_soft_labels():
    """Mixed images have two labels; the authors take the larger."""
    student, teacher, labels = batch(2)
    soft = 0.6 * functional.one_hot(labels, 7) + 0.4 / 7
    torch.testing.assert_close(OFAKD()(student, teacher, soft), OFAKD()(student, teacher, labels))
    tie = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(
        OFAKD()(student[:1], teacher[:1], tie), OFAKD()(student[:1], teacher[:1], torch.tensor([0]))
    )


# ---------------------------------------------------------------- BinaryKL: card, section 8


def test_binary_kl_has_the_cards_values():
    """A mean over classes in place of the sum would be half of it here, and a hundredth on CIFAR-100."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]])
    assert BinaryKL()(student, teacher).item() == pytest.approx(2 * math.log(4 / 3), abs=1e-6)
    assert BinaryKL(normalised=False)(student, teacher).item() == pytest.approx(0.523248, abs=1e-6)
    for normalised in (True, False):
        pull = gradient(lambda s, n=normalised: BinaryKL(normalised=n)(s, teacher), student)
        torch.testing.assert_close(pull, torch.tensor([[-0.5, 0.0]]), atol=1e-6, rtol=0)


@given(seed=seeds, temperature=st.floats(0.5, 5))
@few
def test_binary_kl_sees_the_level_and_is_symmetric(seed, temperature):
    """What softmax cannot see is what this loss is for."""
    student, teacher, _ = batch(seed)
    loss = BinaryKL(temperature)
    value = loss(student, teacher)
    torch.testing.assert_close(loss(teacher, student), value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss(student + 3, teacher + 3), value, rtol=1e-4, atol=1e-4)
    assert value > 0
    assert not torch.allclose(loss(student + 3, teacher), value)
    d = (student - teacher) / temperature
    bernoulli = -0.5 * d.double().sigmoid().log() - 0.5 * (-d.double()).sigmoid().log() - math.log(2)
    torch.testing.assert_close(value.double(), temperature**2 * bernoulli.sum() / 6, rtol=1e-4, atol=1e-5)
    pull = gradient(lambda s: loss(s, teacher), student)
    torch.testing.assert_close(pull, temperature / 6 * (d.sigmoid() - 0.5), rtol=1e-3, atol=1e-5)


def test_binary_kl_still_pulls_far_away():
    """The authors' clamp freezes the gradient of logits that are 18 τ apart."""
    pull = gradient(lambda s: BinaryKL()(s, torch.tensor([[400.0, 0.0]])), torch.zeros(1, 2))
    assert pull[0, 0].item() == pytest.approx(-1.0)


# ---------------------------------------------------------------- rescaled logits: mix_kd card, section 8


def test_rescaled_logits_have_the_cards_values():
    """The standard deviation is the unbiased one; the other one gives 1.22 for 1."""
    student, teacher = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[4.0, 0.0, -4.0]])
    for side in (student, teacher):
        torch.testing.assert_close(rescaled(side), torch.tensor([[1.0, 0.0, -1.0]]))
    assert RescaledKL()(student, teacher).item() == pytest.approx(0.0, abs=1e-7)
    mixed = torch.tensor([[0.75, 0.25, 0.0]])
    assert RescaledCrossEntropy()(student, mixed).item() == pytest.approx(0.657606, abs=1e-6)


@given(seed=seeds, factor=st.floats(0.1, 20), shift=st.floats(-5, 5))
@few
def test_rescaled_losses_ignore_scale_and_level(seed, factor, shift):
    """A teacher trained with mixup has small logits: it must teach as one with large ones."""
    student, teacher, labels = batch(seed)
    for loss in (lambda s, t: RescaledKL()(s, t), lambda s, t: RescaledCrossEntropy()(s, labels)):
        value = loss(student, teacher)
        torch.testing.assert_close(loss(factor * student + shift, teacher), value, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(loss(student, factor * teacher + shift), value, rtol=1e-3, atol=1e-4)
    assert RescaledKL()(factor * teacher, teacher).item() == pytest.approx(0.0, abs=1e-5)


def test_logits_without_spread_have_a_finite_gradient():
    """A student whose last layer begins at 0 would get NaN in its first step."""
    _, teacher, labels = batch(1)
    for constant in (0.0, 0.1):
        pull = gradient(lambda s: RescaledKL()(s, teacher), torch.full((6, 7), constant))
        assert pull.isfinite().all()
        assert pull.any()
        assert pull.abs().max() < 1
        pull = gradient(lambda s: RescaledCrossEntropy()(s, labels), torch.full((6, 7), constant))
        assert pull.isfinite().all()
    with pytest.raises(UsageError, match="2 classes"):
        RescaledCrossEntropy()(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))


def test_few_classes_are_warned_of(monkeypatch):
    """Of two classes, rescaled logits are a sign: the loss would say nothing of how sure the teacher is."""
    said = []
    monkeypatch.setattr("kdcls.losses.rescaled.print_log", lambda text, *_: said.append(text))
    loss = RescaledKL()
    loss(torch.randn(2, 3), torch.randn(2, 3))
    loss(torch.randn(2, 3), torch.randn(2, 3))
    RescaledKL()(torch.randn(2, 5), torch.randn(2, 5))
    assert len(said) == 1
    assert "3 classes" in said[0]


def test_the_criterion_of_rescaled_logits_keeps_the_contract():
    """It stands in the place of torch's cross-entropy, under autocast too."""
    inputs = {"student": (4, 6), "labels": lambda: torch.tensor([0, 5, 2, 2])}
    spec = find("kdcls.RescaledCrossEntropy")
    assert_loss_contract(RescaledCrossEntropy, inputs=inputs, spec=spec)


# ---------------------------------------------------------------- features: AT, RKD, SP


def plain_attention(features):
    """Zagoruyko's at(): mean of squares over channels, flattened, of norm 1."""
    return functional.normalize(features.pow(2).mean(1).flatten(1))


@given(seed=seeds)
@few
def test_attention_transfer_is_the_authors_code(seed):
    """Their weight of 1000 belongs to the mean of squares; a norm would need another."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(3, 4, 5, 5, generator=generator), torch.randn(3, 9, 5, 5, generator=generator)
    expected = (plain_attention(student) - plain_attention(teacher)).pow(2).mean()
    torch.testing.assert_close(AttentionTransfer()(student, teacher), expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(AttentionTransfer()(7 * student, teacher), expected, rtol=1e-4, atol=1e-7)


def test_attention_transfer_compares_at_the_coarser_size():
    """Stages of two families seldom have one size; the finer one is pooled."""
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 8, 8)
    pooled = functional.adaptive_avg_pool2d(teacher, 4)
    expected = (plain_attention(student) - plain_attention(pooled)).pow(2).mean()
    torch.testing.assert_close(AttentionTransfer()(student, teacher), expected)
    zero = gradient(lambda s: AttentionTransfer()(s, teacher), torch.zeros(2, 3, 4, 4))
    assert zero.isfinite().all()


@pytest.mark.parametrize(("student", "teacher"), [((2, 3), (2, 3)), ((2, 3, 4, 4), (3, 3, 4, 4)), ((2, 3, 1, 1),) * 2])
def test_attention_transfer_refuses_what_has_no_places(student, teacher):
    """Of one place the normalised map is 1 on both sides, and the loss an exact 0."""
    with pytest.raises(UsageError, match="AttentionTransfer"):
        AttentionTransfer()(torch.zeros(student), torch.zeros(teacher))


def plain_angles(vectors):
    """RKD's released code."""
    difference = vectors.unsqueeze(0) - vectors.unsqueeze(1)
    edges = functional.normalize(difference, p=2, dim=2)
    return torch.bmm(edges, edges.transpose(1, 2))


@given(seed=seeds, scale=st.floats(0.1, 10))
@few
def test_angles_are_the_authors_and_ignore_scale_and_rotation(seed, scale):
    """A student of another width has neither the teacher's scale nor its axes."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(5, 4, generator=generator), torch.randn(5, 9, generator=generator)
    expected = functional.smooth_l1_loss(plain_angles(student), plain_angles(teacher))
    torch.testing.assert_close(AngleRelational()(student, teacher), expected, rtol=1e-4, atol=1e-6)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    torch.testing.assert_close(AngleRelational()(scale * student @ rotation, teacher), expected, rtol=1e-3, atol=1e-4)


def test_angles_by_hand():
    """A right angle against a straight line: the cosines at the middle corner are 0 and −1."""
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
    # corners 0 and 2: cos 45° = 0.7071 against 1, twice each; corner 1: 0 against -1, twice; squares halved, over 27
    expected = (4 * (1 - math.sqrt(0.5)) ** 2 / 2 + 2 * 0.5) / 27
    assert AngleRelational()(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UsageError, match="triples"):
        AngleRelational()(student[:2], teacher[:2])


def test_the_core_has_similarity_preserving_and_the_distances_of_rkd():
    """The README sends people to the core for these two; they must be what the papers say, up to the stated factor."""
    student, teacher = torch.randn(6, 4), torch.randn(6, 9)
    ours, theirs = (functional.normalize(side @ side.T) for side in (student, teacher))
    preserving = Relational(similarity="dot", diagonal=True)(student, teacher)
    torch.testing.assert_close(preserving, (ours - theirs).pow(2).mean())
    distances = []
    for side in (student, teacher):
        one = (side.unsqueeze(0) - side.unsqueeze(1)).norm(dim=2)
        distances.append(one / one[one > 0].mean())
    relational = Relational(similarity="distance", beta=1.0)(student, teacher)
    torch.testing.assert_close(relational * 5 / 6, functional.smooth_l1_loss(*distances))


def test_fitnets_is_the_cores_mse():
    """Its weight of 100 belongs to a mean over all entries."""
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(MSE()(student, teacher), functional.mse_loss(student, teacher))
