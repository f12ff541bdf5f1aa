"""Sparsity: the regularisers, the figures of the metric, and both ways in which sparse training fails."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings, strategies as st
from sentence_transformers.sparse_encoder.losses import FlopsLoss

from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdret.losses import FLOPS, L1, sparsity as losses
from kdret.metric import IRMetric

few = settings(deadline=None, max_examples=25)
weights = st.integers(1, 6).flatmap(
    lambda rows: st.lists(
        st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.25]), min_size=5, max_size=5), min_size=rows, max_size=rows
    )
)


@pytest.mark.parametrize("loss", [FLOPS, L1])
def test_regulariser_contract(loss):
    """Finite in half precision, the same for any order of texts, alive after a checkpoint."""
    assert_loss_contract(loss, inputs={"student": (4, 6)}, spec=find(f"kdret.{loss.__name__}", "loss"))


@pytest.mark.parametrize(
    ("loss", "expected", "gradient"),
    [
        (FLOPS(), 5.0, [[2.0, 1.0], [2.0, 1.0]]),
        (FLOPS(threshold=1), 3.25, [[0.0, 0.0], [1.5, 1.0]]),
        (L1(), 3.0, [[0.5, 0.5], [0.5, 0.5]]),
    ],
)
def test_golden_regularisers(loss, expected, gradient):
    """Lists card item 4. A mean over words, or over squares, falls just as nicely and gives another sparsity."""
    rows = torch.tensor([[1.0, 0.0], [3.0, 2.0]], requires_grad=True)
    value = loss(rows)
    value.backward()
    assert value.item() == pytest.approx(expected)
    # ∂|w|/∂w at 0 is chosen by torch (0); SPLADE's ReLU gives 0 there too
    torch.testing.assert_close(rows.grad, torch.tensor(gradient) * (rows != 0))


def test_golden_of_disco():
    """DiSCo card item 5: FLOPS of four documents 1.5, L1 of two queries 2.0; over lists instead of columns both differ."""
    documents = torch.tensor([[1.0, 0, 1], [0, 1, 1], [0, 2, 0], [1, 1, 0]])
    assert FLOPS()(documents).item() == pytest.approx(1.5)
    assert L1()(torch.tensor([[1.0, 0, 2], [0, 1, 0]])).item() == pytest.approx(2.0)


@given(rows=weights.filter(lambda rows: np.any(rows)), threshold=st.sampled_from([None, 0, 1, 2]))
@few
def test_flops_equals_sentence_transformers(rows, threshold):
    """A user who moves a SpladeLoss here must find the same penalty."""
    rows = torch.tensor(rows)
    expected = FlopsLoss(model=None, threshold=threshold).compute_loss_from_embeddings(rows)
    torch.testing.assert_close(FLOPS(threshold)(rows), expected)


@given(rows=weights.filter(lambda rows: np.any(rows)), factor=st.floats(0.1, 10))
@few
def test_flops_grows_with_the_square_and_l1_with_the_length(rows, factor):
    """The scale decides which weight of the objective keeps a model alive."""
    rows = torch.tensor(rows)
    torch.testing.assert_close(FLOPS()(factor * rows), factor**2 * FLOPS()(rows))
    torch.testing.assert_close(L1()(factor * rows), factor * L1()(rows))


@given(rows=weights.filter(lambda rows: np.any(rows)))
@few
def test_parts_of_a_batch(rows):
    """L1 may be accumulated. FLOPS may not: means over fewer texts have larger squares, which the warning of split batches says."""
    rows = torch.tensor(rows)
    twice = torch.cat([rows, rows.roll(1, 1)])
    parts = [rows, rows.roll(1, 1)]
    torch.testing.assert_close(L1()(twice), sum(map(L1(), parts)) / 2)
    assert FLOPS()(twice) <= sum(map(FLOPS(), parts)) / 2 + 1e-5
    assert FLOPS.depends_on_split == "samples"


@pytest.mark.parametrize("loss", [FLOPS, L1])
def test_bad_vectors_are_one_line(loss):
    """Each would give a number that looks like a loss, or none at all."""
    nan = torch.ones(3, 4)
    nan[1, 2] = torch.nan
    for value, message in (
        (torch.ones(4), r"\(N, V\), N >= 1, got \(4,\) of layout strided"),
        (torch.zeros(0, 4), r"got \(0, 4\)"),
        (torch.eye(3).to_sparse(), r"layout sparse_coo.*call=0\) for queries"),
        (nan, r"vector 1 holds NaN"),
        (torch.zeros(2, 4), r"no word has a weight in any of the 2 vectors of the batch.*WarmupSchedule"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            loss()(value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="bad threshold"):
        loss(threshold=-1)


def test_a_death_in_the_middle_of_training_is_noticed():
    """After it no gradient moves the encoder, and the loss is a perfect 0."""
    loss, alive, dead = FLOPS(), torch.eye(2), torch.zeros(2, 2)
    loss(alive)
    with pytest.raises(UsageError, match="the encoder has collapsed"):
        for _ in range(losses._LOOK_EVERY):
            loss(dead)


def test_vectors_that_stay_dense_are_named_once(monkeypatch, recwarn):
    """A weight that is too small is noticed when the index does not fit, days later."""
    monkeypatch.setattr(losses, "_LOOK_EVERY", 2)
    dense, sparse = torch.ones(3, 5), torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
    loss = FLOPS()
    for _ in range(2 * losses._PATIENCE - 4):
        loss(dense)
    loss(sparse)
    loss(sparse)
    assert not recwarn.list
    for _ in range(6 * losses._PATIENCE):
        loss(dense)
    (warning,) = recwarn.list
    assert "have 5 of 5 words active" in str(warning.message)
    assert "raise the weight" in str(warning.message)


def row(*values):
    return scipy.sparse.csr_array(np.array([values], dtype=np.float32))


QUERIES = {"q1": row(1, 0, 0, 2, 0, 0), "q2": row(0, 3, 0, 0, 0, 0)}
DOCUMENTS = {"a": row(2, 1, 0, 0, 0, 0), "b": row(0, 0, 0, 1.5, 1, 0), "c": row(0, 2, 0, 0, 0, 0)}
META = {"qrels": {"q1": {"b": 1}, "q2": {"a": 1}}, "n_queries": 2, "n_documents": 3}


def evaluate(metric, queries=QUERIES, documents=DOCUMENTS):
    samples = [{"column": "query", "id": key, "embedding": value} for key, value in queries.items()]
    samples += [{"column": "document", "id": key, "embedding": value} for key, value in documents.items()]
    metric.dataset_meta = META
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_sparse_ranking_and_figures_by_hand():
    """q1 scores b 3, a 2, c 0; q2 scores c 6, a 3, b 0. Two words of q1 and one of q2: 1.5; documents 2, 2, 1."""
    found = evaluate(IRMetric(["MRR@10"]))
    assert found["retrieval/MRR@10"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["retrieval/active_query"] == pytest.approx(1.5)
    assert found["retrieval/active_document"] == pytest.approx(5 / 3)
    # words 0, 1, 3: half of the queries each; a third, two thirds and a third of the documents
    assert found["retrieval/flops"] == pytest.approx(0.5 * 1 / 3 + 0.5 * 2 / 3 + 0.5 * 1 / 3)


def test_a_weight_that_is_stored_as_zero_counts_for_nothing():
    """Pruning that writes zeros instead of leaving entries out would be reported as dense."""
    stored = DOCUMENTS["c"].copy()
    stored = scipy.sparse.csr_array((np.array([2.0, 0.0]), np.array([1, 4]), np.array([0, 2])), shape=(1, 6))
    assert stored.nnz == 2
    assert evaluate(IRMetric(["MRR@10"]), documents=DOCUMENTS | {"c": stored}) == evaluate(IRMetric(["MRR@10"]))


def test_collapsed_sparse_encoders_are_not_measured():
    """No word, NaN, and one vector for every document: each ranks by the order of ids."""
    empty = {key: row(*[0] * 6) for key in DOCUMENTS}
    with pytest.raises(UsageError, match=r"no word has a weight in any of the 3 document vectors.*lower the weight"):
        evaluate(IRMetric(), documents=empty)
    with pytest.raises(UsageError, match="any of the 2 query vectors"):
        evaluate(IRMetric(), queries={key: row(*[0] * 6) for key in QUERIES})
    with pytest.raises(UsageError, match=r"document vector \d is not finite"):
        evaluate(IRMetric(), documents=DOCUMENTS | {"b": row(0, 0, np.nan, 0, 0, 0)})
    with pytest.raises(UsageError, match="same score for every query"):
        evaluate(IRMetric(), documents={key: row(1, 1, 0, 0, 0, 0) for key in DOCUMENTS})


def test_a_dense_sparse_encoder_is_named(monkeypatch):
    """Its index would be larger than that of a dense encoder, and slower."""
    lines = []
    monkeypatch.setattr("kdret.sparsity.print_log", lambda line, logger, level: lines.append(line))
    evaluate(IRMetric(), documents={key: row(index + 1, 2, 3, 4, 0, 5) for index, key in enumerate(DOCUMENTS)})
    (line,) = lines
    assert "the document vectors have 5 of 6 words active" in line
