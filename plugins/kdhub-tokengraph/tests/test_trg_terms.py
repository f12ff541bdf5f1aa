"""TRG's terms: the card's numbers, its properties, a dense computation by numpy, and edge cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing import assert_loss_contract
from kdtrg.losses.context_graph import ContextGraph
from kdtrg.losses.global_contrast import GlobalContrast
from kdtrg.losses.local_graph import LocalGraph
from kdtrg.losses.trg import TRGLoss

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)

# the card's inputs, as one image each: 1-D tokens; two axes; a tilted pair
LINE = torch.tensor([[[0.0], [2.0], [5.0]]]), torch.tensor([[[0.0], [1.0], [3.0]]])
AXES = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]), torch.eye(2).unsqueeze(0)
LITERAL = {"k": 1, "sigma": 1.0, "normalize": False}


def tokens(seed=0, shapes=((3, 6, 5), (3, 6, 8))):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def dense(student, teacher, k, sigma, own=True, teacher_first=True):
    """The card's sections 3.1 and 3.2 with full n x n matrices, in numpy; tokens of all images, as they are."""
    sides = [side.flatten(0, 1).numpy() for side in (student, teacher)]
    squared = [((x[:, None] - x[None]) ** 2).sum(-1) for x in sides]
    graphs = []
    for distance, lists in zip(squared, squared if own else [squared[1]] * 2, strict=True):
        lists = lists + np.diag(np.full(len(lists), np.inf))
        adjacency = np.zeros_like(distance)
        for j in range(len(distance)):
            for i in np.argsort(lists[j], kind="stable")[: min(k, len(distance) - 1)]:
                adjacency[i, j] = np.exp(-distance[i, j] / (2 * sigma))
        graphs.append(np.exp(adjacency) / np.exp(adjacency).sum(1, keepdims=True))
    p, q = graphs[::-1] if teacher_first else graphs
    return (p * np.log(p / q)).sum(1).mean()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reduction": "sum"}, 0.048512),
        ({}, 0.016171),
        ({"reduction": "sum", "direction": "student||teacher"}, 0.047551),
    ],
)
def test_local_numbers_of_the_card(options, expected):
    """A transposed adjacency, or zeros left out of the softmax, still trains and is another method."""
    assert LocalGraph(**LITERAL, **options)(*LINE).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "reduction", "expected"), [(1.0, "sum", 1.006409), (1.0, "mean", 0.503204), (0.1, "sum", 0.693193)]
)
def test_global_numbers_of_the_card(temperature, reduction, expected):
    """A contrast over the wrong side's tokens gives a plausible number too."""
    loss = GlobalContrast(temperature=temperature, reduction=reduction)
    assert loss(*AXES).item() == pytest.approx(expected, abs=1e-6)


def test_global_at_equality():
    """The card: 0.626523 where student equals teacher; a loss that is 0 there has no negatives."""
    same = AXES[1]
    assert GlobalContrast(temperature=1.0, reduction="sum")(same, same).item() == pytest.approx(0.626523, abs=1e-6)


def test_context_number_of_the_card():
    """Without the division by √D, or with a softmax by columns, the number is another."""
    assert ContextGraph()(*AXES).item() == pytest.approx(0.014409, abs=1e-6)


def test_the_sum_has_the_terms_of_its_parts():
    """A weight at the wrong term would train a mixture that nobody wrote down."""
    loss = TRGLoss(local_weight=3.0, global_weight=0.5, context_weight=2.0, k=1, normalize=False, temperature=1.0)
    found = {name: term.item() for name, term in loss(*AXES).items()}
    parts = (
        LocalGraph(**LITERAL)(*AXES).item(),
        GlobalContrast(temperature=1.0)(*AXES).item(),
        ContextGraph()(*AXES).item(),
    )
    expected = {"local": 3 * parts[0], "global": 0.5 * parts[1], "context": 2 * parts[2]}
    assert found == pytest.approx(expected, rel=1e-6)
    assert min(parts) > 1e-3


@pytest.mark.parametrize("left", ["local", "global", "context"])
def test_a_term_alone(left):
    """An ablation whose term is still computed costs its time, and a projection without a loss stops DDP."""
    weights = {f"{name}_weight": None for name in ("local", "global", "context") if name != left}
    loss = TRGLoss(**weights, in_features=2, out_features=2)
    assert list(loss(*AXES)) == [left]
    assert bool(list(loss.parameters())) == (left == "global")


@few
@given(
    seeds, st.integers(1, 30), st.sampled_from(["own", "teacher"]), st.sampled_from([True, False]), st.integers(1, 7)
)
def test_edges_give_the_dense_loss(seed, k, neighbours, teacher_first, chunk):
    """The loss is computed from n·k edges; a sum that forgets one kind of entry is wrong by a little, and trains."""
    student, teacher = tokens(seed)
    loss = LocalGraph(
        k=k,
        sigma=4.0,
        normalize=False,
        neighbours=neighbours,
        direction="teacher||student" if teacher_first else "student||teacher",
        chunk=chunk,
    )
    expected = dense(student, teacher, k, 4.0, neighbours == "own", teacher_first)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=4)
@given(seeds)
def test_gradients_are_those_of_differences(seed):
    """A wrong gradient lowers the loss for a while, and the value alone shows nothing."""
    student, teacher = tokens(seed, ((2, 4, 3), (2, 4, 5)))
    student.requires_grad_()
    for chunk in (None, 3):
        local, contrast = (
            LocalGraph(k=3, chunk=chunk),
            GlobalContrast(temperature=0.5, in_features=3, out_features=5, chunk=chunk),
        )
        losses = (local, contrast.double(), ContextGraph(), ContextGraph("unit"), ContextGraph("layer"))
        for loss in losses:
            assert torch.autograd.gradcheck(lambda value, loss=loss: loss(value, teacher), student, eps=1e-7, atol=1e-5)


@few
@given(seeds)
def test_the_order_of_tokens_does_not_matter(seed):
    """A loss that depends on where a token stands compares positions, not tokens."""
    student, teacher = tokens(seed, ((1, 12, 5), (1, 12, 8)))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    loss = TRGLoss(k=3, in_features=5, out_features=8).double()
    moved = loss(student[:, order], teacher[:, order])
    for name, term in loss(student, teacher).items():
        torch.testing.assert_close(moved[name], term)


@few
@given(seeds)
def test_the_zero_of_local_and_context(seed):
    """A student that has the teacher's graph has nothing to learn, however its space is turned."""
    (teacher,) = tokens(seed, ((3, 6, 5),))
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1, 1], dtype=torch.float64))
    for student in (teacher, teacher @ turn, teacher @ mirror):
        assert LocalGraph(k=3)(student, teacher).item() == pytest.approx(0.0, abs=1e-10)
        assert ContextGraph()(student, teacher).item() == pytest.approx(0.0, abs=1e-10)
    shifted = teacher @ turn + 3.0
    assert LocalGraph(k=3, normalize=False, sigma=9.0)(shifted, teacher).item() == pytest.approx(0.0, abs=1e-10)
    assert LocalGraph(k=3)(shifted, teacher).item() > 1e-5


@few
@given(seeds, st.floats(0.01, 100.0))
def test_the_length_of_a_token_does_not_matter(seed, factor):
    """Where tokens are normalised, a student with larger features would otherwise have to unlearn its scale first."""
    student, teacher = tokens(seed)
    each = torch.rand(3, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    for loss in (LocalGraph(k=3), GlobalContrast(in_features=5, out_features=8).double(), ContextGraph("unit")):
        torch.testing.assert_close(loss(student * each * factor, teacher / factor), loss(student, teacher))
    torch.testing.assert_close(
        ContextGraph("layer")(student * 1e3, teacher * 1e3),
        ContextGraph("layer")(student * 1e4, teacher * 1e4),
        rtol=1e-4,
        atol=1e-9,
    )


@few
@given(seeds)
def test_the_contrast_at_equality_falls_with_the_temperature(seed):
    """The card: at most ln n per token, and towards 0 with the temperature where directions differ."""
    (teacher,) = tokens(seed, ((3, 6, 5),))
    values = [GlobalContrast(temperature=one)(teacher, teacher).item() for one in (100.0, 1.0, 0.1, 1e-4)]
    assert values == sorted(values, reverse=True)
    assert values[0] <= np.log(18) + 1e-9
    assert values[-1] < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype):
    """Exponentials and divergences of half-precision numbers lose the differences that teach.

    On the same rounded numbers the values are equal; against unrounded ones what is left is the rounding of the inputs.
    """
    full = [one.float() for one in tokens(3, ((4, 16, 32), (4, 16, 64)))]
    half = [one.to(dtype) for one in full]
    loss = TRGLoss(k=4, rescale="unit", temperature=0.5, in_features=32, out_features=64)
    found, rounded, exact = loss(*half), loss(*(one.float() for one in half)), loss(*full)
    for name, term in found.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, rounded[name], rtol=0, atol=0)
        torch.testing.assert_close(term, exact[name], rtol=0.02 if dtype == torch.bfloat16 else 0.003, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # the projection's matrix product is no longer the same if autocast reaches it
        torch.testing.assert_close(loss(*full), exact, rtol=1e-6, atol=0)


EDGES = {
    "one image": torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0)),
    "one token": torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(0)),
    "two tokens": torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0)),
    "duplicates": torch.ones(2, 6, 4),
    "dead": torch.zeros(2, 6, 4),
    "half dead": torch.cat([torch.zeros(1, 6, 4), torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))]),
}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", EDGES)
def test_edges_are_finite(name, normalize):
    """Padding, a dead channel or a last batch of one image turns a day's training into NaN."""
    teacher = EDGES[name]
    student = (0.5 * teacher).requires_grad_()
    for chunk in (None, 2):
        loss = TRGLoss(k=8, normalize=normalize, rescale="unit", chunk=chunk)
        terms = loss(student, teacher)
        (gradient,) = torch.autograd.grad(sum(terms.values()), student)
        assert all(term.isfinite() for term in terms.values())
        assert gradient.isfinite().all()
        if name == "one token":
            assert [terms["local"].item(), terms["global"].item()] == [0.0, 0.0]
        if name in ("duplicates", "dead"):
            assert terms["local"].item() == pytest.approx(0.0, abs=1e-7)


def test_in_chunks_backward_keeps_no_square_matrix():
    """Memory linear in n is what `chunk` promises; a matrix kept for backward is the same memory."""
    student, teacher = (torch.randn(4, 100, 6, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    student.requires_grad_()

    def largest(chunk):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
            terms = TRGLoss(k=3, chunk=chunk, context_weight=None)(student, teacher)
        return max(kept), terms

    (square, whole), (linear, parts) = largest(None), largest(16)
    assert square == 400 * 400
    # a token's numbers, or its k x k matches with the other side's edges
    assert linear <= 400 * 9
    for name, term in parts.items():
        torch.testing.assert_close(term, whole[name])


@pytest.mark.parametrize("k", [5, 6, 50])
def test_more_neighbours_than_tokens_are_all_tokens(k):
    """A small last batch must train, with the neighbours that there are."""
    student, teacher = tokens(0, ((2, 3, 4), (2, 3, 4)))
    assert LocalGraph(k=k)(student, teacher) == LocalGraph(k=5)(student, teacher)


INPUTS = {"student": (3, 6, 5), "teacher": (3, 6, 8)}
ALIKE = {"student": (3, 6, 5), "teacher": (3, 6, 5)}
WIDTHS = {"in_features": 5, "out_features": 8}


@pytest.mark.parametrize("inputs", [INPUTS, ALIKE], ids=["widths differ", "widths alike"])
@pytest.mark.parametrize("draw", [{}, {"tokens": 3, "draw": 4}, {"chunk": 5}], ids=["all", "drawn", "chunks"])
@pytest.mark.parametrize("loss", [LocalGraph, GlobalContrast, ContextGraph, TRGLoss])
def test_contract(loss, inputs, draw):
    """What a run takes for granted of every loss, with all tokens, with some drawn, and in chunks."""
    arguments = {} if loss is ContextGraph else dict(draw)
    if loss in (GlobalContrast, TRGLoss):
        arguments |= {"in_features": 5, "out_features": inputs["teacher"][-1]}
    assert_loss_contract(
        loss,
        inputs=inputs,
        arguments=arguments,
        spec=find(f"kdtrg.{loss.__name__}", "loss"),
        batch_order="tokens" not in arguments,
    )


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (LocalGraph, {"k": 0}, "bad k"),
        (LocalGraph, {"sigma": 0.0}, "bad sigma"),
        (LocalGraph, {"neighbours": "both"}, "'own' or 'teacher'"),
        (LocalGraph, {"direction": "teacher|student"}, r"teacher\|\|student"),
        (LocalGraph, {"normalize": "no"}, "bad normalize"),
        (LocalGraph, {"tokens": 4}, r"draw=dict\(type='kdtrg.StepNumber'\)"),
        (LocalGraph, {"reduction": "batchmean"}, "'mean' or 'sum'"),
        (GlobalContrast, {"temperature": 0.0}, "bad temperature"),
        (GlobalContrast, {"in_features": 4}, "two widths"),
        (GlobalContrast, {"chunk": 0}, "bad chunk"),
        (ContextGraph, {"rescale": "batch"}, "'unit' or 'layer'"),
        (TRGLoss, dict.fromkeys(["local_weight", "global_weight", "context_weight"]), "no term"),
        (TRGLoss, {"local_weight": -1.0}, "bad local_weight"),
    ],
)
def test_bad_arguments(loss, arguments, message):
    """A wrong argument that is found at the first step has cost the loading of data and teacher."""
    with pytest.raises(UsageError, match=message):
        loss(**arguments)


@pytest.mark.parametrize(
    ("loss", "shapes", "message"),
    [
        (TRGLoss(), ((2, 6, 5), (2, 4, 5)), r"\(2, 6, 5\) and teacher \(2, 4, 5\).*grid=\(h, w\).*prefix=1"),
        (ContextGraph(), ((2, 5, 3, 3), (2, 5, 3, 3)), r"student=dict\(type='kdtrg.Tokens'\)"),
        (LocalGraph(), ((2, 6, 5), (3, 6, 5)), "the same images"),
        (GlobalContrast(), ((2, 6, 5), (2, 6, 8)), "in_features=5, out_features=8"),
        (GlobalContrast(in_features=4, out_features=8), ((2, 6, 5), (2, 6, 8)), "in_features=5, out_features=8"),
        (GlobalContrast(in_features=5, out_features=5), ((2, 6, 5), (2, 6, 8)), "in_features=5, out_features=8"),
    ],
)
def test_values_that_do_not_fit(loss, shapes, message):
    """Broadcast or paired wrongly, tokens of other places would be compared."""
    with pytest.raises(UsageError, match=message):
        loss(*(torch.randn(shape) for shape in shapes))


def test_a_schedule_that_ends_at_zero_is_stopped():
    """A temperature of 0 gives NaN in the last step of a run."""
    loss = GlobalContrast()
    loss.temperature = 0.0
    with pytest.raises(UsageError, match="temperature"):
        loss(*AXES)
