"""AUROC, AUPR and FAR95: hand values of the card, scikit-learn, ties, and intervals."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

from kdhub import UsageError
from kdood.figures import FIGURES, bootstrap_intervals, ood_figures
from kdood.metric import OODFigures
from kdood.mixed import Mixed


def test_hand_values():
    """The card's example, in which the trapezoid (94.375) and the average precision (95.0) differ."""
    found = ood_figures([1, 2, 3, 4, 3.5, 5, 6, 7], [0] * 4 + [1] * 4)
    assert found["auroc"] == pytest.approx(93.75)
    assert found["aupr_out"] == pytest.approx(94.375)
    assert found["aupr_in"] == pytest.approx(94.375)
    assert found["far95"] == pytest.approx(25.0)
    assert found["tnr95"] == pytest.approx(75.0)
    # above 3.5 are one text within and three without
    assert found["fdr95"] == pytest.approx(25.0)
    assert found["detection_error"] == pytest.approx(25.0)


@pytest.mark.parametrize(("count", "index"), [(20, 1), (100, 5), (1000, 50)])
def test_the_threshold_is_at_the_published_index(count, index):
    """int(n · 0.05) in floating point is a place beside, unless 0.05 is computed as the authors do."""
    outs = np.arange(count, dtype=float)
    # one score within lies just above each score without: those at or above the threshold's are strictly above it
    found = ood_figures(np.r_[outs, outs + 0.5], np.r_[np.ones(count), np.zeros(count)])
    assert found["far95"] == pytest.approx(100.0 * (count - index) / count)


def scikit(scores, flags):
    def area(positive, values):
        precision, recall, _ = precision_recall_curve(positive, values)
        return 100 * auc(recall, precision)

    return {
        "auroc": 100 * roc_auc_score(flags, scores),
        "aupr_out": area(flags, scores),
        "aupr_in": area(1 - flags, -scores),
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60),
    st.sampled_from([1.0, 1e-3, -1e4]),
)
def test_ties_are_those_of_scikit_learn(rows, scale):
    """A rule of its own for equal scores makes a figure that nobody can compare."""
    flags = np.array([flag for _, flag in rows], int)
    assume(0 < flags.sum() < len(flags))
    scores = np.array([score for score, _ in rows]) * scale
    found = ood_figures(scores, flags)
    for name, value in scikit(scores, flags).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_random_scores_are_those_of_scikit_learn():
    """On continuous scores as well, with classes of unequal size."""
    random = np.random.default_rng(0)
    flags = (random.random(500) < 0.18).astype(int)
    scores = random.normal(size=500) + flags
    for name, value in scikit(scores, flags).items():
        assert ood_figures(scores, flags)[name] == pytest.approx(value, abs=1e-9), name


def test_far95_counts_pairs():
    """By the definition, one text after the other."""
    random = np.random.default_rng(1)
    for _ in range(20):
        outs, ins = np.sort(random.integers(0, 9, 37)), random.integers(0, 9, 23)
        threshold = outs[int(len(outs) * (1 - 0.95))]
        found = ood_figures(np.r_[outs, ins], np.r_[np.ones(37), np.zeros(23)])
        assert found["far95"] == pytest.approx(100 * np.mean([score > threshold for score in ins]))


@pytest.mark.parametrize("flags", [[0, 0, 0], [1, 1, 1]])
def test_one_class_only_is_refused(flags):
    """A figure of one class is 0 divided by 0, and would be reported as NaN, or as 100."""
    with pytest.raises(UsageError, match="both classes"):
        ood_figures([1, 2, 3], flags)


def test_nan_scores_are_refused():
    """A text with nothing to score would be sorted to an end and count as well told apart."""
    with pytest.raises(UsageError, match="1 of 3 scores are NaN"):
        ood_figures([1, float("nan"), 3], [0, 1, 1])


def test_infinite_scores_are_fine():
    """A perplexity overflows; its order is still right."""
    assert ood_figures([1, 2, np.inf, np.inf], [0, 0, 1, 1])["auroc"] == 100


def test_intervals_hold_the_figure_and_shrink():
    """Intervals that do not depend on the number of texts are those of another quantity."""
    widths = []
    for count in (50, 800):
        random = np.random.default_rng(2)
        flags = np.r_[np.zeros(count), np.ones(count)]
        scores = random.normal(size=2 * count) + flags
        found, intervals = ood_figures(scores, flags), bootstrap_intervals(scores, flags, 200)
        assert set(intervals) == set(FIGURES)
        assert all(low <= found[name] <= high for name, (low, high) in intervals.items() if name != "far95")
        widths.append(intervals["auroc"][1] - intervals["auroc"][0])
        assert bootstrap_intervals(scores, flags, 200) == intervals
    assert widths[1] < widths[0] / 2


def test_the_metric_reads_language_models_and_classifiers():
    """One figure for texts and for images; who reads logits of classes as tokens gets a number all the same."""
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.875, 0.125], [0.5, 0.5]]))
    sure, unsure = torch.tensor([-100, 0, 0, 0]), torch.tensor([-100, 1, 1, 1])
    metric = OODFigures()
    samples = [{"pred_score": logits, "gt_label": labels} for labels in (sure, unsure)]
    metric.process({"ood": torch.tensor([0, 1])}, samples)
    assert metric.results[1][0] == pytest.approx((0.6931472 + 1.3862944 + 2.0794415) / 3)
    assert metric.evaluate(2)["auroc"] == 100
    for score in ("msp", "energy"):
        metric = OODFigures(score=score, bootstrap=10)
        classes = [{"pred_score": torch.tensor(row)} for row in ([9.0, 0, 0], [1.0, 1, 1])]
        metric.process({"ood": [0, 1]}, classes)
        assert metric.evaluate(2)["auroc"] == 100
    metric = OODFigures(score="given")
    metric.process({}, [{"pred_score": 1.0, "ood": False}, {"pred_score": 0.5, "ood": True}])
    assert metric.evaluate(2)["auroc"] == 0


def test_samples_that_do_not_say_where_they_belong():
    """The figure would be of nothing."""
    with pytest.raises(UsageError, match="'ood' in the batch"):
        OODFigures().process({"inputs": 1}, [{"pred_score": torch.zeros(2, 2)}])
    with pytest.raises(UsageError, match="score='msp'"):
        OODFigures().process({"ood": [0]}, [{"pred_score": torch.zeros(3), "gt_label": torch.zeros(1)}])
    with pytest.raises(UsageError, match="classifier"):
        OODFigures(score="msp").process({"ood": [0]}, [{"pred_score": torch.zeros(3, 2)}])


def test_two_data_sets_of_any_kind_as_one():
    """A class of the photos outside would be taken for the class of that number inside."""
    inside = [{"inputs": torch.zeros(1), "labels": 1}, {"inputs": torch.ones(1), "labels": 0}]
    data = Mixed(inside, [{"inputs": torch.ones(1), "labels": 1}])
    assert [(one["labels"], one["ood"]) for one in (data[place] for place in range(len(data)))] == [
        (1, 0),
        (0, 0),
        (-100, 1),
    ]
    with pytest.raises(UsageError, match=r"Mixed\.outside"):
        Mixed(inside, [(torch.ones(1), 1)])[2]
