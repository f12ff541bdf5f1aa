"""`Matryoshka`: prefixes by hand, the losses it can hold, and what is refused."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from kdhub.errors import UsageError
from kdhub.registry import find
from kdhub.testing.contracts import assert_loss_contract
from kdret.losses import EmbeddingDistill, InBatchCrossEntropy, ListwiseKL, Matryoshka

EMBEDDING = {"type": "kdret.EmbeddingDistill"}
few = settings(deadline=None, max_examples=25)


def pair(seed, rows=4, width=6):
    return torch.randn(2, rows, width, generator=torch.Generator().manual_seed(seed)).unbind(0)


@pytest.mark.parametrize("metric", ["cosine", "mse"])
def test_matryoshka_contract(metric):
    """What every loss of kdhub promises, with the loss inside."""
    arguments = {"loss": EMBEDDING | {"metric": metric}, "dims": [6, 3]}
    inputs = {"student": (4, 6), "teacher": (4, 6)}
    assert_loss_contract(Matryoshka, inputs=inputs, arguments=arguments, spec=find("kdret.Matryoshka", "loss"))


def test_prefixes_by_hand():
    """Lists card item 13: [3, 4, 0] → [.6, .8]; [0, 3, 4] → [0, 1] and [0, .6, .8]. Uncut lengths would weigh wide texts more."""
    student = torch.tensor([[3.0, 4.0, 0.0], [0.0, 3.0, 4.0]])
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    # 1 − cos per text: width 2: 1 − .6 and 1 − 1; width 3: 1 − .6 and 1 − .6
    expected = {(2,): 0.2, (3,): 0.4, (2, 3): 0.6, (3, 2): 0.6}
    for dims, value in expected.items():
        if 3 in dims:
            assert Matryoshka(EMBEDDING, dims)(student, teacher).item() == pytest.approx(value)
    assert Matryoshka(EMBEDDING, [3, 2], [1.0, 0.5])(student, teacher).item() == pytest.approx(0.5)
    # mse over 2·m entries of unit vectors: ‖a − b‖² = 2 − 2 cos
    mse = Matryoshka(EMBEDDING | {"metric": "mse"}, [3, 2])(student, teacher)
    assert mse.item() == pytest.approx((0.8 + 0.8) / 6 + 0.8 / 4)


@given(seed=st.integers(0, 10_000), dims=st.sets(st.integers(1, 5), max_size=3), weights=st.randoms())
@few
def test_it_is_the_sum_of_the_loss_on_unit_prefixes(seed, dims, weights):
    """A mean, or a prefix of another length, trains a student that is worse at each width."""
    student, teacher = pair(seed)
    dims = [6, *dims]
    factors = [weights.uniform(0.1, 2) for _ in dims]
    found = Matryoshka(EMBEDDING, dims, factors)(student, teacher)
    inner = EmbeddingDistill()
    expected = sum(w * inner(student[:, :m], teacher[:, :m]) for m, w in zip(dims, factors, strict=True))
    torch.testing.assert_close(found, expected)


def test_losses_on_lists_of_embeddings():
    """In-batch losses compare embeddings of the student; a live teacher's stay whole, as its prefixes were never trained."""
    query, document = pair(0)
    wide = [torch.randn(4, 9, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    cut = [[functional.normalize(one[:, :m], dim=-1) for one in (query, document)] for m in (6, 2)]
    found = Matryoshka({"type": "kdret.InBatchCrossEntropy"}, [6, 2])([query, document])
    torch.testing.assert_close(found, sum(InBatchCrossEntropy()(one) for one in cut))
    found = Matryoshka({"type": "kdret.ListwiseKL", "temperature": 0.5}, [6, 2])([query, document], wide)
    torch.testing.assert_close(found, sum(ListwiseKL(0.5)(one, wide) for one in cut))


def test_a_split_batch_is_told_of_as_by_the_loss_inside():
    """The warning of split batches asks the outer loss."""
    assert Matryoshka(EMBEDDING, [2]).depends_on_split(["embed"]) == ""
    assert Matryoshka({"type": "kdret.InBatchCrossEntropy"}, [2]).depends_on_split(["embed"]) == "samples"
    assert Matryoshka({"type": "kdret.ListwiseKL"}, [2]).depends_on_split(["embed"]) == "samples"


def test_a_missing_full_width_is_said_once(recwarn):
    """The whole embedding, which most people use, would be left untrained."""
    student, teacher = pair(2)
    loss = Matryoshka(EMBEDDING, [4, 2])
    for _ in range(2):
        loss(student, teacher)
    (warning,) = recwarn.list
    assert "full width 6 is not among [4, 2]" in str(warning.message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": []}, "bad dims"),
        ({"dims": [3, 3]}, "different whole numbers"),
        ({"dims": [0]}, "bad dims .*from 1"),
        ({"dims": 4}, "bad dims"),
        ({"weights": [1.0]}, "2 numbers, one for each width"),
        ({"weights": [1.0, 0.0]}, "bad weights .*above 0"),
        ({"loss": "kdret.EmbeddingDistill"}, r"Matryoshka\.loss"),
        ({"loss": {"type": "kdret.EmbedingDistill"}}, "did you mean 'kdret.EmbeddingDistill'"),
    ],
)
def test_bad_matryoshka_arguments(arguments, message):
    """Before the first batch, in one line."""
    with pytest.raises(Exception, match=message):
        Matryoshka(**{"loss": EMBEDDING, "dims": [6, 3]} | arguments)


def test_what_is_no_embedding_is_refused():
    """The first columns of a score matrix are the first documents."""
    student, teacher = pair(3)
    with pytest.raises(UsageError, match=r"ListwiseKL got scores.*call='all'"):
        Matryoshka({"type": "kdret.ListwiseKL"}, [4])(student, teacher)
    with pytest.raises(UsageError, match=r"widths up to 6, got \[8, 4\]"):
        Matryoshka(EMBEDDING, [8, 4])(student, teacher)
