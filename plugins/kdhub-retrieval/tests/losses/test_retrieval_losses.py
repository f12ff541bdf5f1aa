"""Retrieval losses: the cards' numbers, sentence-transformers' own classes, invariances, and bad scores."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from sentence_transformers.sentence_transformer.losses import (
    DistillKLDivLoss,
    EmbedDistillLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from torch import nn

from kdhub.distill.losses import MSE
from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdret.losses import EmbeddingDistill, InBatchCrossEntropy, InBatchMarginMSE, ListwiseKL, MarginMSE, RankNet

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/retrieval_losses.json").read_text(encoding="utf-8"))["cases"]
OURS = (EmbeddingDistill, InBatchCrossEntropy, InBatchMarginMSE, ListwiseKL, MarginMSE, RankNet)
CLASSES = {"kdhub.MSE": MSE} | {one.__name__: one for one in OURS}

few = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 10_000)


def lists(seed, queries=3, candidates=4, count=2, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(queries, candidates, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden(case):
    """A wrong layout, reduction or factor gives a loss that still falls, and a student that is quietly worse."""
    inputs = {name: torch.tensor(case[name], dtype=torch.float32) for name in ("teacher", "labels") if name in case}
    student = torch.tensor(case["student"], dtype=torch.float32, requires_grad=True)
    loss = CLASSES[case["loss"]](**case.get("arguments", {}))(student, **inputs)
    assert loss.item() == pytest.approx(case["expected"], abs=1e-6)
    if "gradient" in case:
        loss.backward()
        torch.testing.assert_close(student.grad, torch.tensor(case["gradient"]))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("EmbeddingDistill", {"student": (4, 6), "teacher": (4, 6)}),
        ("MarginMSE", {"student": (4, 3), "teacher": (4, 3)}),
        ("MarginMSE", {"student": (4, 3), "labels": (4, 2)}),
        ("ListwiseKL", {"student": (4, 3), "teacher": (4, 3)}),
        ("ListwiseKL", {"student": (4, 3), "labels": (4, 3)}),
        ("RankNet", {"student": (4, 3), "labels": (4, 3)}),
        ("InBatchCrossEntropy", {"student": (4, 8)}),
        ("InBatchMarginMSE", {"student": (4, 8), "teacher": (4, 8)}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the teacher's scores differ by up to")
def test_contract(name, inputs):
    """What every loss of kdhub promises: finite in half precision, no gradient to the teacher, zero at equality, ..."""
    spec = find(f"kdret.{name}", "loss")
    if "teacher" not in inputs:  # cached scores: equality with them is tested below
        spec = dataclasses.replace(spec, zero_at_equality=False)
    # in-batch losses read their labels off the diagonal: rows and columns would have to move together
    assert_loss_contract(CLASSES[name], inputs=inputs, spec=spec, batch_order=not name.startswith("InBatch"))


@given(seed=seeds, queries=st.integers(1, 4), documents=st.integers(1, 3))
@few
@pytest.mark.filterwarnings("ignore:.*the teacher's scores differ by up to")
def test_in_batch_margins_one_by_one(seed, queries, documents):
    """A margin over a query's own document, or one between the wrong query and document, would be taught like all others."""
    student, teacher = lists(seed, queries, queries * documents)
    errors = [
        ((s[i, i * documents] - s[i, j * documents + k]) - (t[i, i * documents] - t[i, j * documents + k])) ** 2
        for s, t in [(student, teacher)]
        for i in range(queries)
        for j in range(queries)
        for k in range(documents)
        if i != j
    ]
    expected = torch.stack(errors).mean() if errors else torch.tensor(0.0)
    torch.testing.assert_close(InBatchMarginMSE()(student, teacher), expected)


@pytest.mark.parametrize(("student", "teacher"), [((3, 4), (3, 4)), ((2, 4), (2, 2)), ((4,), (4,))])
def test_in_batch_margins_of_something_else(student, teacher):
    """Scores of a query's own list have as many axes as those of the batch, and a loss that falls."""
    with pytest.raises(UsageError, match="wants every query against every document"):
        InBatchMarginMSE()(torch.ones(student), torch.ones(teacher))


@given(seed=seeds, negatives=st.integers(1, 4), layout=st.sampled_from(["raw", "margins"]))
@few
def test_margin_mse_equals_sentence_transformers(seed, negatives, layout):
    """On embeddings with these dot products, their class must give the same value and the same gradient."""
    generator = torch.Generator().manual_seed(seed)
    query, *documents = torch.randn(2 + negatives, 3, 5, generator=generator).requires_grad_().unbind(0)
    raw = torch.randn(3, 1 + negatives, generator=generator)
    labels = raw if layout == "raw" else raw[:, :1] - raw[:, 1:]
    theirs = MarginMSELoss(model=None).compute_loss_from_embeddings([query, *documents], labels)
    scores = torch.stack([(query * document).sum(-1) for document in documents], dim=1)
    ours = MarginMSE()(scores, labels=labels)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, documents, retain_graph=True), torch.autograd.grad(theirs, documents), strict=True
    ):
        assert mine.any()
        torch.testing.assert_close(mine, other)


@pytest.mark.filterwarnings("ignore:.*the teacher's scores differ by up to")
@given(seed=seeds, temperatures=st.tuples(st.floats(0.5, 5), st.floats(0.5, 5)))
@few
def test_listwise_kl_equals_sentence_transformers(seed, temperatures):
    """The factor is the student's temperature squared there; a user who moves from there must find the same loss."""
    generator = torch.Generator().manual_seed(seed)
    query, *documents = torch.randn(5, 3, 6, generator=generator).unbind(0)
    labels = torch.randn(3, 4, generator=generator)
    ours, theirs = ({"student_temperature": a, "teacher_temperature": b} for a, b in [temperatures] * 2)
    scores = torch.stack([(query * document).sum(-1) for document in documents], dim=1)
    expected = DistillKLDivLoss(model=None, **theirs).compute_loss_from_embeddings([query, *documents], labels)
    torch.testing.assert_close(ListwiseKL(**ours)(scores, labels=labels), expected)


@pytest.mark.parametrize("metric", ["cosine", "l2", "mse"])
def test_embedding_distill_equals_sentence_transformers_on_several_columns(metric):
    """`call='cat'` puts columns below each other; for columns of one size that must be their mean over columns."""
    student, teacher = torch.randn(2, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = EmbedDistillLoss(None, metric).compute_loss_from_embeddings(list(student), list(teacher))
    torch.testing.assert_close(EmbeddingDistill(metric)(student.flatten(0, 1), teacher.flatten(0, 1)), expected)


@given(seed=seeds, shift=st.floats(-50, 50), factor=st.floats(0.1, 10), pairs=st.sampled_from(["first", "all"]))
@few
def test_margin_mse_sees_margins_only(seed, shift, factor, pairs):
    """Margin card item 3: a constant per query must not count, a factor must count squared."""
    student, teacher = lists(seed)
    per_query = shift * torch.tensor([[1.0], [-2.0], [0.5]])
    loss = MarginMSE(pairs)
    value = loss(student, teacher)
    torch.testing.assert_close(loss(student + per_query, teacher), value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(loss(student, teacher - per_query), value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(loss(factor * student, factor * teacher), factor**2 * value)


@pytest.mark.parametrize("loss", [MarginMSE(), MarginMSE("all"), ListwiseKL()], ids=["first", "all", "kl"])
def test_zero_and_no_gradient_up_to_a_constant_per_query(loss):
    """Margin card item 8 and lists item 15: at the goal nothing may pull."""
    (teacher,) = lists(1, count=1)
    student = (teacher + torch.tensor([[3.0], [-1.0], [0.0]])).requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max() < 1e-5


@given(seed=seeds, name=st.sampled_from(["MarginMSE", "ListwiseKL", "RankNet"]))
@few
def test_order_of_the_other_candidates_does_not_matter(seed, name):
    """Lists item 15: permuting what is not the relevant document, with its teacher scores, is the same list."""
    student, teacher = lists(seed, candidates=5)
    order = torch.cat([torch.tensor([0]), 1 + torch.randperm(4, generator=torch.Generator().manual_seed(seed))])
    loss = CLASSES[name]()
    torch.testing.assert_close(loss(student[:, order], teacher[:, order]), loss(student, teacher))


@given(seed=seeds, negatives=st.integers(0, 3))
@few
def test_in_batch_equals_sentence_transformers(seed, negatives):
    """The supervised baseline must be the one that people know."""
    generator = torch.Generator().manual_seed(seed)
    query, *documents = torch.nn.functional.normalize(torch.randn(2 + negatives, 3, 5, generator=generator), dim=-1)
    expected = MultipleNegativesRankingLoss(None).compute_loss_from_embeddings([query, *documents], None)
    together = torch.stack(documents, dim=1).flatten(0, 1)
    torch.testing.assert_close(InBatchCrossEntropy()(query @ together.T), expected)


def test_a_scheduled_temperature_is_followed():
    """A schedule sets the attribute; a loss that read it once would keep the first temperature in silence."""
    student, teacher = lists(2)
    loss = ListwiseKL(temperature=1.0)
    loss.temperature = 3.0
    torch.testing.assert_close(loss(student, teacher), ListwiseKL(temperature=3.0)(student, teacher))


def test_minus_infinity_leaves_a_candidate_out_of_both_softmaxes():
    """Ragged lists: a missing candidate taken for a score of 0 would be taught as a document."""
    student, teacher = lists(3)
    ragged = torch.cat([teacher, torch.full((3, 1), -torch.inf)], dim=1)
    wider = torch.cat([student, torch.full((3, 1), 9.0)], dim=1).requires_grad_()
    value = ListwiseKL()(wider, ragged)
    value.backward()
    torch.testing.assert_close(value, ListwiseKL()(student, teacher))
    assert not wider.grad[:, -1].any()


@pytest.mark.parametrize("name", ["MarginMSE", "ListwiseKL", "RankNet"])
def test_nan_score_is_named_by_row(name):
    """One NaN in a score file would make every weight NaN after one step."""
    student, teacher = lists(4)
    teacher[1, 2] = float("nan")
    with pytest.raises(UsageError, match=rf"{name}: the teacher's score of row 1 is NaN"):
        CLASSES[name]()(student, labels=teacher)


@pytest.mark.parametrize(
    ("loss", "student", "inputs", "message"),
    [
        (MarginMSE(), (2, 3), {"labels": (2, 4)}, r"raw scores \(B, 3\) or margins \(B, 2\), got \(2, 4\)"),
        (MarginMSE(), (2, 3), {"labels": (2,)}, r"do not fit lists of 3"),
        (MarginMSE("all"), (2, 3), {"labels": (2, 2)}, r"raw scores \(B, 3\) for pairs='all'"),
        (MarginMSE(), (2, 3), {"labels": (3, 3)}, r"expected 2 rows, got shape \(3, 3\)"),
        (MarginMSE(), (2, 3), {"labels": (2, 3), "teacher": (2, 3)}, r"from one place .*got both"),
        (MarginMSE(), (2, 3), {}, r"from one place .*got neither"),
        (ListwiseKL(), (2, 3), {"labels": (2, 2)}, r"one teacher score for each candidate"),
        (ListwiseKL(), (2, 1), {"labels": (2, 1)}, r"at least 2 candidates"),
        (RankNet(), (2, 3), {"labels": (2, 2)}, r"one teacher score for each candidate"),
        (EmbeddingDistill(), (2, 3), {"teacher": (1, 3)}, r"text by text"),
        (InBatchCrossEntropy(), (2, 3), {}, r"expected \(B, B·K\), got \(2, 3\)"),
    ],
)
def test_shapes_that_would_broadcast_are_refused(loss, student, inputs, message):
    """Torch broadcasts most of these to a loss that looks fine."""
    with pytest.raises(UsageError, match=message):
        loss(torch.randn(student), **{name: torch.randn(shape) for name, shape in inputs.items()})


@pytest.mark.parametrize("temperature", [0, -0.05, float("nan"), float("inf"), "0.05", True, None])
@pytest.mark.parametrize("loss", [InBatchCrossEntropy, ListwiseKL])
def test_a_temperature_without_sense_is_refused_when_the_loss_is_built(loss, temperature):
    """A temperature of 0 must not wait for the first batch, after the models were loaded and the teacher was evaluated."""
    with pytest.raises(UsageError, match=r"bad temperature .*a finite number above 0"):
        loss(temperature=temperature)


def test_lists_of_one_candidate_add_nothing_to_the_mean():
    """A mean over the lists that count would change with the way in which a batch is split."""
    student, teacher = lists(5, queries=4)
    teacher[1, 1:] = -torch.inf
    whole = ListwiseKL()(student, labels=teacher)
    parts = [ListwiseKL()(student[rows], labels=teacher[rows]) for rows in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(whole, sum(parts) / 2)


def test_row_that_excludes_every_candidate_is_refused():
    """Softmax over nothing is NaN."""
    with pytest.raises(UsageError, match=r"row 1 excludes every candidate"):
        ListwiseKL()(torch.zeros(2, 3), labels=torch.tensor([[0.0, 1.0, 2.0], [-torch.inf] * 3]))


@pytest.mark.parametrize("loss", [MarginMSE(), ListwiseKL()])
def test_bounded_student_against_unbounded_teacher_warns_once(loss, recwarn):
    """Cosines cannot reach the margins of a cross-encoder: the loss saturates and nobody knows why."""
    student, teacher = torch.tensor([[0.9, 0.1]]), torch.tensor([[9.0, -3.0]])
    for _ in range(2):
        loss(student, labels=teacher)
    assert [str(warning.message).startswith(type(loss).__name__) for warning in recwarn.list] == [True]


def test_student_temperature_silences_the_warning(recwarn):
    """The remedy that the warning names must be one."""
    ListwiseKL(student_temperature=0.05)(torch.tensor([[0.9, 0.1]]), labels=torch.tensor([[9.0, -3.0]]))
    assert not recwarn.list


def test_a_linear_student_learns_a_linear_teacher():
    """Margin card item 10: 200 steps of Adam reduce the loss by more than 100 times and order held-out pairs."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(64, 5, 8, generator=generator)
    teacher = features @ torch.randn(8, generator=generator)
    held_out = torch.randn(200, 2, 8, generator=generator)
    goal = held_out @ torch.linalg.lstsq(features.flatten(0, 1), teacher.flatten()).solution
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = nn.Linear(8, 1)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    loss, values = MarginMSE(), []
    for _ in range(200):
        value = loss(student(features).squeeze(-1), labels=teacher)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    scores = student(held_out).squeeze(-1)
    agreement = ((scores[:, 0] > scores[:, 1]) == (goal[:, 0] > goal[:, 1])).float().mean()
    assert values[0] > 100 * values[-1]
    assert agreement > 0.95


@pytest.mark.parametrize("loss", [MarginMSE(), MarginMSE(pairs="all"), RankNet()])
@pytest.mark.parametrize("side", ["teacher", "labels"])
def test_a_padded_list_is_refused_by_losses_that_compare_sizes(loss, side):
    """A list padded with −∞ gave NaN, and the guard advised to mask both sides, which gives NaN too."""
    scores = torch.tensor([[2.0, 1.0, 0.5], [2.0, 1.0, -torch.inf]])
    for student in (torch.zeros(2, 3), scores):
        with pytest.raises(UsageError, match=r"score of row 1 is infinite.*kdret\.ListwiseKL"):
            loss(student, **{side: scores})
