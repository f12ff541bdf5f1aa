"""`BPKDLoss`: the card's numbers, gradients and properties, and inputs that would train nonsense."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.api import channel_wise_kl
from kdhub.distill.schedules import LinearSchedule
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdseg.losses.bpkd import BPKDLoss, bpkd_loss
from kdseg.masks import pooled_edge_masks

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/bpkd.json").read_text(encoding="utf-8"))["losses"]
VOID = 255

few = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 10_000)
flags = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([2.0, 0.5]),
        "temperature": st.sampled_from([0.5, 1.0, 4.0]),
        "edge_normalizer": st.sampled_from(["count", "sum"]),
        "edge_class_reduction": st.sampled_from(["sum", "mean_present"]),
        "body_mask_mode": st.sampled_from(["multiply", "exclude"]),
    }
)


def example(seed=0, classes=4, dtype=torch.float32):
    """Student, teacher, mask and validity of 2 images: a third of the cells at an edge, some void."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, classes, 5, 6)
    student, teacher = (3 * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    valid = torch.rand((2, 1, 5, 6), generator=generator) < 0.9
    edge = (2 * torch.rand(shape, generator=generator, dtype=dtype) - 1).clamp(min=0) * valid
    return student, teacher, edge, valid


def some_labels(seed=0):
    """Blocks of 4 classes with some void, 2 images of 20 x 24 pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (2, 2, 3), generator=generator).repeat_interleave(10, 1).repeat_interleave(8, 2)
    labels[:, 3:5, 3:6] = VOID
    return labels


def kl(teacher, student):
    """KL of two rows of logits in float64."""
    log_p, log_q = (row - np.logaddexp.reduce(row) for row in (teacher, student))
    return (np.exp(log_p) * (log_p - log_q)).sum()


def by_numpy(
    student, teacher, edge, valid, *, alpha, temperature, edge_normalizer, edge_class_reduction, body_mask_mode
):
    """The card's formulas, class by class and position by position."""
    s, t, m, v = (value.detach().double().flatten(2).numpy() for value in (student, teacher, edge, valid))
    images, classes, positions = s.shape
    edges = bodies = 0.0
    for b in range(images):
        phi = [
            kl(t[b, :, i] * m[b, :, i] / temperature, s[b, :, i] * m[b, :, i] / temperature) for i in range(positions)
        ]
        terms = []
        for c in range(classes):
            n = (m[b, c] > 0).sum() if edge_normalizer == "count" else m[b, c].sum()
            if n:
                terms.append(alpha / n * sum(phi[i] * m[b, c, i] for i in range(positions)))
            kept = v[b, 0].astype(bool)
            if body_mask_mode == "exclude":
                kept &= m[b, c] == 0
            rows = [(x[b, c] * (1 - m[b, c]) / temperature)[kept] for x in (t, s)]
            bodies += kl(*rows) if kept.any() else 0.0
        edges += sum(terms) / (max(len(terms), 1) if edge_class_reduction == "mean_present" else 1)
    return temperature**2 * edges / images, temperature**2 * bodies / (images * classes)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden(case):
    """Another order of masking, softmax and division still falls in training, and 50 and 20 no longer mean anything."""
    student, teacher, edge = (
        torch.tensor(case[name], dtype=torch.float64)[None, :, None] for name in ("student", "teacher", "mask")
    )
    student.requires_grad_()
    valid = torch.ones_like(edge[:, :1], dtype=torch.bool)
    loss_edge, loss_body = bpkd_loss(student, teacher, edge, valid, temperature=case["temperature"])
    assert loss_edge.item() == pytest.approx(case["edge"], abs=1e-6)
    if "body" in case:
        assert loss_body.item() == pytest.approx(case["body"], abs=1e-6)
    if "total" in case:
        assert (50 * loss_edge + 20 * loss_body).item() == pytest.approx(case["total"], abs=1e-6)
    if "edge_gradient" in case:
        (gradient,) = torch.autograd.grad(loss_edge, student)
        expected = torch.tensor(case["edge_gradient"], dtype=torch.float64)
        torch.testing.assert_close(gradient[0, :, 0], expected, atol=1e-6, rtol=0)


@given(seed=seeds, arguments=flags)
@few
def test_equals_float64_numpy(seed, arguments):
    """Every flag together with every other, void and soft masks."""
    inputs = example(seed)
    for term, expected in zip(bpkd_loss(*inputs, **arguments), by_numpy(*inputs, **arguments), strict=True):
        assert term.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(seed=seeds, arguments=flags)
@few
def test_gradient_is_that_of_finite_differences(seed, arguments):
    """The gradient is written by hand: a slip trains a wrong student though the value is right."""
    student, teacher, edge, valid = example(seed, classes=3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: bpkd_loss(s, teacher, edge, valid, **arguments), student.requires_grad_())


@given(seed=seeds, arguments=flags)
@few
def test_equal_networks_rest(seed, arguments):
    """Card property (a): a student that has arrived must not be pushed away again by rounding."""
    _, teacher, edge, valid = example(seed)
    student = teacher.clone().requires_grad_()
    loss_edge, loss_body = bpkd_loss(student, teacher, edge, valid, **arguments)
    (loss_edge + loss_body).backward()
    assert loss_edge == 0
    assert loss_body == 0
    assert not student.grad.any()


@given(seed=seeds, arguments=flags)
@few
def test_gradients_reach_what_they_should(seed, arguments):
    """Card properties (b) and (c): none to the teacher, none from the edge term where there is no edge, none from void."""
    student, teacher, edge, valid = example(seed)
    student.requires_grad_()
    teacher.requires_grad_()
    loss_edge, loss_body = bpkd_loss(student, teacher, edge, valid, **arguments)
    at_edges, to_teacher = torch.autograd.grad(loss_edge, (student, teacher), retain_graph=True, allow_unused=True)
    (in_bodies,) = torch.autograd.grad(loss_body, student)
    assert to_teacher is None
    assert at_edges.any()
    assert not at_edges[(edge == 0).all(1, keepdim=True).expand_as(edge)].any()
    assert in_bodies.any()
    assert not in_bodies[~valid.expand_as(edge)].any()


@given(seed=seeds, shift=st.floats(-20, 20))
@few
def test_a_constant_a_pixel_is_ignored_where_all_classes_have_an_edge(seed, shift):
    """Card property (d): softmax over classes; its other half, a class without edge, is among the golden numbers."""
    student, teacher, edge, valid = example(seed)
    edge = (edge > 0).any(1, keepdim=True).expand_as(edge).float()
    offset = shift * torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(seed))
    plain, shifted = (bpkd_loss(value, teacher, edge, valid)[0] for value in (student, student + offset))
    torch.testing.assert_close(plain, shifted, rtol=1e-4, atol=1e-5)


@given(seed=seeds, temperature=st.sampled_from([1.0, 4.0]), mode=st.sampled_from(["multiply", "exclude"]))
@few
def test_without_edges_the_body_is_channel_wise_distillation(seed, temperature, mode):
    """Card property (e): the body term is CWD's, so that the two can be compared at equal weight."""
    student, teacher, edge, valid = example(seed)
    edge = torch.zeros_like(edge)
    per_channel = torch.randn(2, 4, 1, 1, generator=torch.Generator().manual_seed(seed))
    for logits in (student, student + per_channel):
        loss_edge, loss_body = bpkd_loss(logits, teacher, edge, valid, temperature=temperature, body_mask_mode=mode)
        expected = channel_wise_kl(student, teacher, temperature, valid[:, 0])
        torch.testing.assert_close(loss_body, expected, rtol=1e-4, atol=1e-5)
        assert loss_edge == 0


@given(seed=seeds)
@few
def test_flipping_everything_changes_nothing(seed):
    """Card property (f): a mirrored image must teach the same."""
    student, teacher, _, _ = example(seed)
    labels = some_labels(seed)
    loss = BPKDLoss(window=3)
    for axis in (-1, -2):
        flipped = loss(student.flip(axis), teacher.flip(axis), labels.flip(axis))
        for name, value in loss(student, teacher, labels).items():
            torch.testing.assert_close(flipped[name], value, rtol=1e-4, atol=1e-4)


def test_terms_carry_their_weights_and_the_masks_of_the_labels():
    """Weight 1.0 in the objective must give the card's total."""
    student, teacher, _, _ = example()
    labels = some_labels()
    masks = pooled_edge_masks(labels, 4, (5, 6), window=3)
    edge, body = bpkd_loss(student, teacher, masks.edge, masks.valid, alpha=2.0)
    terms = BPKDLoss(window=3)(student, teacher, labels)
    torch.testing.assert_close(terms, {"loss_edge": 50 * edge, "loss_body": 20 * body})
    assert edge > 0
    assert body > 0
    ours = BPKDLoss(edge_weight=3.0, body_weight=0, window=3)(student, teacher, labels.unsqueeze(1))
    torch.testing.assert_close(ours, {"loss_edge": 3 * edge})


@pytest.mark.parametrize(("off", "left"), [("edge_weight", {"loss_body"}), ("body_weight", {"loss_edge"})])
def test_a_term_of_weight_zero_is_left_out(off, left):
    """The natural ablation would be stopped by the guard of terms that stay 0, with a wrong reason."""
    student, teacher, _, _ = example()
    assert set(BPKDLoss(window=3, **{off: 0})(student, teacher, some_labels())) == left
    loss = BPKDLoss(window=3)
    setattr(loss, off, 0.0)  # as a schedule does
    assert set(loss(student, teacher, some_labels())) == left


@pytest.mark.parametrize("mode", ["multiply", "exclude"])
def test_a_class_ruled_out_on_both_sides_adds_nothing(mode):
    """-inf times an edge mask of 0 is NaN, and one NaN ends the run at the learning rate's expense."""
    student, teacher, edge, valid = example()
    ours, theirs = (value.clone() for value in (student, teacher))
    ours[:, 0] = theirs[:, 0] = -torch.inf
    ours.requires_grad_()
    terms = bpkd_loss(ours, theirs, edge, valid, body_mask_mode=mode)
    sum(terms).backward()
    assert all(term.isfinite() for term in terms)
    assert ours.grad.isfinite().all()
    # a class far below all others is the same, short of infinity
    ours = ours.detach().clone().masked_fill(ours.isneginf(), -1e9)
    theirs = theirs.masked_fill(theirs.isneginf(), -1e9)
    assert bpkd_loss(ours, theirs, edge, valid, body_mask_mode=mode)[0].item() == pytest.approx(
        terms[0].item(), rel=1e-4
    )


def test_a_schedule_drives_the_numbers():
    """A weight copied in the constructor would never see its schedule."""
    student, teacher, _, _ = example()
    loss = BPKDLoss(window=3)
    half = LinearSchedule(start=0.0, end=50.0, steps=2)(1)
    before = loss(student, teacher, some_labels())["loss_edge"]
    loss.edge_weight = half
    assert loss(student, teacher, some_labels())["loss_edge"].item() == pytest.approx(before.item() * half / 50)
    loss.temperature = 0.0
    with pytest.raises(UsageError, match="temperature"):
        loss(student, teacher, some_labels())


def test_alpha_by_class():
    """A list as the figure has it: weights of the classes, in their order."""
    student, teacher, edge, valid = example()
    weights = torch.tensor([1.0, 0.0, 3.0, 0.5])
    parts = [bpkd_loss(student, teacher, edge, valid, alpha=torch.eye(4)[c])[0] * weights[c] for c in range(4)]
    torch.testing.assert_close(bpkd_loss(student, teacher, edge, valid, alpha=weights)[0], sum(parts))
    labels = some_labels()
    by_list = BPKDLoss(alpha=[2.0] * 4)(student, teacher, labels)
    torch.testing.assert_close(by_list, BPKDLoss()(student, teacher, labels))
    assert not BPKDLoss(alpha=[2.0] * 4).state_dict(), "a constant of the config does not belong in checkpoints"
    with pytest.raises(UsageError, match="a list of 4, got a list of 3"):
        BPKDLoss(alpha=[1.0, 2.0, 3.0])(student, teacher, labels)


@pytest.mark.parametrize("mode", ["multiply", "exclude"])
@pytest.mark.parametrize("normalizer", ["count", "sum"])
@pytest.mark.parametrize("label", [0, VOID])
def test_no_boundary_is_an_exact_zero(label, mode, normalizer):
    """A crop of sky, or of padding, must be a 0 that backward() accepts, not NaN from 0/0."""
    student, teacher, _, _ = example()
    student.requires_grad_()
    labels = torch.full((2, 20, 24), label)
    loss = BPKDLoss(body_mask_mode=mode, edge_normalizer=normalizer, edge_class_reduction="mean_present")
    terms = loss(student, teacher, labels)
    (at_edges,) = torch.autograd.grad(terms["loss_edge"], student, retain_graph=True)
    (in_bodies,) = torch.autograd.grad(terms["loss_body"], student)
    assert terms["loss_edge"] == 0
    assert torch.equal(at_edges, torch.zeros_like(at_edges))
    assert (terms["loss_body"] == 0) == (label == VOID)
    assert bool(in_bodies.any()) == (label != VOID)


@pytest.mark.parametrize("mode", ["multiply", "exclude"])
def test_all_edge_leaves_no_body(mode):
    """A small crop under a wide band: nothing is left to compare channel by channel."""
    student, teacher, edge, valid = example()
    edge, valid = torch.ones_like(edge), torch.ones_like(valid)
    student.requires_grad_()
    _, loss_body = bpkd_loss(student, teacher, edge, valid, body_mask_mode=mode)
    loss_body.backward()
    assert loss_body == 0
    assert not student.grad.any()


def test_one_void_image_beside_another():
    """A void image adds 0 and leaves the other's terms alone, apart from the mean over the batch."""
    student, teacher, _, _ = example()
    labels = some_labels()
    alone = BPKDLoss(window=3)(student[:1], teacher[:1], labels[:1])
    labels[1] = VOID
    for name, value in BPKDLoss(window=3)(student, teacher, labels).items():
        torch.testing.assert_close(value, alone[name] / 2)


def test_another_stride_of_the_teacher():
    """A teacher of half the stride is resized as the card says; its mask is the student's."""
    student, _, _, _ = example()
    teacher = torch.randn(2, 4, 10, 12, generator=torch.Generator().manual_seed(1))
    resized = functional.interpolate(teacher, size=(5, 6), mode="bilinear", align_corners=False)
    labels = some_labels()
    torch.testing.assert_close(BPKDLoss()(student, teacher, labels), BPKDLoss()(student, resized, labels))


def test_float32_inside_autocast():
    """Half-precision KL loses the small probabilities that distillation is about."""
    student, teacher, _, _ = example()
    labels = some_labels()
    expected = BPKDLoss()(student.bfloat16().float(), teacher.bfloat16().float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = BPKDLoss()(student.bfloat16(), teacher.bfloat16(), labels)
    torch.testing.assert_close(terms, expected)
    assert {value.dtype for value in terms.values()} == {torch.float32}


BACKENDS = [
    "aot_eager",
    pytest.param(
        "inductor",
        marks=pytest.mark.skipif(shutil.which("g++") is None, reason="torch's inductor needs a C++ compiler"),
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["multiply", "exclude"])
def test_compiled_gives_the_same(backend, mode):
    """Whoever compiles the training step must get the same loss and gradient, without a break in the graph."""
    torch._dynamo.reset()
    compiled = torch.compile(bpkd_loss, fullgraph=True, backend=backend)
    student, teacher, edge, valid = example()
    student.requires_grad_()
    results = []
    for function in (bpkd_loss, compiled):
        terms = function(student, teacher, edge, valid, temperature=2.0, body_mask_mode=mode)
        results.append((*terms, *torch.autograd.grad(sum(terms), student)))
    for eager, other in zip(*results, strict=True):
        torch.testing.assert_close(eager, other, rtol=1e-5, atol=1e-6)


LABELS = some_labels()


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "message"),
    [
        ((2, 4, 5, 6), (2, 4, 5, 6), LABELS.masked_fill(LABELS == 3, 4), r"0 to 3, or 255.*got 4\).*reduce_zero_label"),
        ((2, 4, 5, 6), (2, 4, 5, 6), LABELS - 1, "got -1, 254"),
        ((2, 4, 5, 6), (2, 4, 5, 6), LABELS[..., :12], "masks of another size than the image"),
        ((2, 4, 5, 6), (2, 4, 5, 6), LABELS[:1], r"expected \(2, H, W\)"),
        ((2, 4, 5, 6), (2, 4, 5, 6), list(LABELS), "different size"),
        ((2, 4, 5, 6), (2, 4, 5, 6), LABELS.float(), "integers"),
        ((2, 4, 5, 6), (2, 4, 5, 18), LABELS, "batch='student'"),
        ((2, 4, 5, 6), (2, 5, 5, 6), LABELS, "different class lists"),
        ((2, 4, 5, 6), (1, 4, 5, 6), LABELS, "different batches"),
        ((2, 4, 30), (2, 4, 30), LABELS, "conv_seg"),
        ((2, 1, 5, 6), (2, 1, 5, 6), LABELS * 0, "at least 2 classes"),
    ],
)
def test_inputs_that_do_not_belong_together(student, teacher, labels, message):
    """Each of these would train on the wrong places or classes with a plausible loss."""
    with pytest.raises(UsageError, match=message):
        BPKDLoss()(torch.zeros(student), torch.zeros(teacher), labels)


@pytest.mark.parametrize(
    "arguments",
    [
        {"edge_weight": -1},
        {"body_weight": float("nan")},
        {"alpha": "2"},
        {"alpha": [1.0, -1.0]},
        {"temperature": 0},
        {"window": 6},
        {"window": 0},
        {"edge_normalizer": "mean"},
        {"edge_class_reduction": "mean"},
        {"body_mask_mode": "mask"},
        {"void_rule": "none"},
    ],
)
def test_bad_arguments_stop_in_the_constructor(arguments):
    """A wrong word found at step 1 of a queued job is a lost night."""
    with pytest.raises(UsageError, match=f"{next(iter(arguments))}|window"):
        BPKDLoss(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"window": 3},
        {"window": 5, "alpha": [1.0, 2.0, 3.0, 4.0], "temperature": 2.0, "void_rule": "pixel"},
        {"window": 3, "body_mask_mode": "exclude", "edge_normalizer": "sum", "edge_class_reduction": "mean_present"},
    ],
)
def test_loss_contract(arguments):
    """What the objective takes for granted of every loss."""
    shape = (2, 4, 5, 6)
    inputs = {"student_logits": shape, "teacher_logits": shape, "labels": some_labels}
    assert_loss_contract(BPKDLoss, arguments=arguments, inputs=inputs, spec=find("kdseg.BPKDLoss"))
