"""`ScoreEnsemble`: the mean of several teachers, with members that answer from a table and with live models."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.api import MethodOutput, ModelTeacher, Teacher
from kdhub.errors import UsageError
from kdret.cross_encoder import CrossEncoder
from kdret.data.collate import collate_texts
from kdret.encoder import SentenceEncoder
from kdret.ensemble import ScoreEnsemble

few = settings(deadline=None, max_examples=25)


class Table(Teacher):
    """Answers with the same scores for any batch."""

    def __init__(self, scores):
        self.scores = torch.as_tensor(scores, dtype=torch.float32)

    def answers(self, batch):
        return {"score": self.scores, "similarity": self.scores}

    def fingerprint(self):
        return f"table-{self.scores.tolist()}"


class Changing(Table):
    frozen = False


def ask(scores, path="score", **options):
    """Return what an ensemble of tables says."""
    ensemble = ScoreEnsemble({f"t{row}": Table(one) for row, one in enumerate(scores)}, **options)
    tap = MethodOutput(path)
    ensemble.values(ensemble.preprocess({}, True), [tap], check_mode=True)
    return tap.read()


def test_t2_of_the_paper():
    """Margin card item 6: (5, 1), (7, 2), (6, 0) → (6, 1). A sum would triple every margin."""
    assert ask([[[5.0, 1.0]], [[7.0, 2.0]], [[6.0, 0.0]]]).tolist() == [[6.0, 1.0]]


def test_weights_are_relative():
    """Weights that do not add up to 1 must not scale the margins."""
    scores = [[[4.0, 0.0]], [[0.0, 8.0]]]
    assert ask(scores, weights={"t0": 3.0, "t1": 1.0}).tolist() == [[3.0, 2.0]]
    assert ask(scores, weights={"t0": 30, "t1": 10}).tolist() == [[3.0, 2.0]]


def test_normalised_means_by_hand():
    """[0, 2, 4] has mean 2 and standard deviation √(8/3); its list of 100 times the scale must count alike."""
    one, large = [[0.0, 2.0, 4.0]], [[300.0, 100.0, -100.0]]
    assert ask([one, large], normalize="minmax").tolist() == [[0.5, 0.5, 0.5]]
    root = (3 / 2) ** 0.5
    torch.testing.assert_close(ask([one, one], normalize="zscore"), torch.tensor([[-root, 0.0, root]]))
    torch.testing.assert_close(ask([one, large], normalize="zscore"), torch.zeros(1, 3), atol=1e-6, rtol=0)


def test_a_list_of_one_score_says_nothing():
    """Dividing by a spread of 0 is NaN, and by one of rounding a lesson from nowhere."""
    for normalize in ("zscore", "minmax"):
        tied = [[0.1, 0.1, 0.1], [1.0, 1.0 + 1e-7, 1.0]]
        assert ask([tied, tied], normalize=normalize).tolist() == [[0.0] * 3] * 2


@given(
    seed=st.integers(0, 10_000), normalize=st.sampled_from([None, "zscore", "minmax"]), order=st.permutations(range(3))
)
@few
def test_the_order_of_teachers_and_their_scale(seed, normalize, order):
    """Names decide nothing; normalised, neither offset nor scale of a teacher does."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 4, 5, generator=generator)
    expected = ask(scores, normalize=normalize)
    torch.testing.assert_close(ask(scores[list(order)], normalize=normalize), expected)
    if normalize is None:
        torch.testing.assert_close(expected, scores.mean(0))
    else:
        moved = scores * torch.tensor([1.0, 50.0, 0.1])[:, None, None] + torch.tensor([0.0, -7.0, 3.0])[:, None, None]
        torch.testing.assert_close(ask(moved, normalize=normalize), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"teachers": {"one": Table([[1.0]])}}, "bad teachers .*at least 2"),
        ({"teachers": [Table([[1.0]])] * 2}, "bad teachers"),
        ({"weights": {"a": 1.0}}, "a number for each of a, b"),
        ({"weights": {"a": 1.0, "b": 1.0, "c": 1.0}}, "bad weights"),
        ({"weights": {"a": 1.0, "b": 0}}, r"bad weights\['b'\] .*above 0"),
        ({"normalize": "softmax"}, "'zscore' or 'minmax', or None"),
        (
            {"teachers": {"a": Table([[1.0]]), "b": Changing([[1.0]])}},
            r"teachers\.b: no teacher of an ensemble.*Changing",
        ),
        ({"teachers": {"a": Table([[1.0]]), "b": torch.nn.Linear(1, 1)}}, "got Linear"),
    ],
)
def test_bad_ensembles(arguments, message):
    """One line before the first step, not a mean of the wrong things after it."""
    with pytest.raises(UsageError, match=message):
        ScoreEnsemble(**{"teachers": {"a": Table([[1.0]]), "b": Table([[1.0]])}} | arguments)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]], {}, r"\(1, 2\) of 't0', \(1, 3\) of 't1'"),
        ([[[1.0, 2.0]], [[1.0, float("nan")]]], {}, r"teacher 't1' gives query 0 .*not finite"),
        ([[[1.0, 2.0]], [[3.0, 2.0]]], {"normalize": "zscore"}, r"lists of 2 all have the same margin"),
        ([[[1.0]], [[2.0]]], {"path": "embed"}, r"has no 'embed'"),
    ],
)
def test_scores_without_a_mean(scores, options, message):
    """Torch would broadcast, or answer NaN, or margins of one size."""
    with pytest.raises(UsageError, match=message):
        ask(scores, **options)


def test_live_teachers_of_two_kinds(tiny_cross, tiny_encoder):
    """A cross-encoder and a dense one tokenise apart and are asked once each; what they say is averaged."""
    lists = [{"texts": {"query": "read file", "document": ["open csv", "tree graph"]}}]
    models = {"cross": CrossEncoder(tiny_cross), "dense": SentenceEncoder(tiny_encoder, score_scale=5.0)}
    ensemble = ScoreEnsemble(
        {name: ModelTeacher(model) for name, model in models.items()}, weights={"cross": 1, "dense": 3}
    )
    raw, tap = collate_texts(lists), MethodOutput("score")
    for _ in range(2):
        ensemble.values(ensemble.preprocess(raw, True), [tap], check_mode=True)
        found = tap.read()
    cross = models["cross"]._run_forward(models["cross"].data_preprocessor(raw), mode="tensor")["score"]
    embeddings = models["dense"]._run_forward(models["dense"].data_preprocessor(raw), mode="tensor")
    torch.testing.assert_close(found, cross / 4 + models["dense"].score(*embeddings.values()) * 3 / 4)
    assert not found.requires_grad
    counts = [sum(p.numel() for p in model.parameters()) for model in models.values()]
    assert ensemble.facts() == {"type": "ScoreEnsemble", "parameters": sum(counts)}


def test_a_fingerprint_of_its_own():
    """A run resumed with other weights would go on with another teacher."""
    tables = {"a": Table([[1.0]]), "b": Table([[2.0]])}
    variants = [{}, {"weights": {"a": 1, "b": 2}}, {"normalize": "zscore"}]
    prints = {ScoreEnsemble(tables, **options).fingerprint() for options in variants}
    prints.add(ScoreEnsemble(tables | {"b": Table([[3.0]])}).fingerprint())
    assert len(prints) == 4
    assert ScoreEnsemble(tables).fingerprint() == ScoreEnsemble(dict(reversed(tables.items()))).fingerprint()
