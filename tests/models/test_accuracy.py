"""`Accuracy`: golden values counted by hand, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub import Accuracy, UsageError


def measure(samples, **options):
    metric = Accuracy(**options)
    for scores, label in samples:
        metric.process(None, [{"pred_score": torch.tensor(scores), "gt_label": torch.tensor([label])}])
    return metric.evaluate(len(samples))


def test_counted_by_hand():
    """Of four samples the right class is first in two, second in one, last in one."""
    samples = [([3.0, 2, 1], 0), ([1.0, 2, 3], 2), ([3.0, 2, 1], 1), ([3.0, 2, 1], 2)]
    assert measure(samples, topk=(1, 2, 3)) == {"top1": 50.0, "top2": 75.0, "top3": 100.0}


def test_names_and_prefix():
    """Names are what `save_best` and reports are asked by."""
    assert measure([([1.0, 0], 0)], topk=1, prefix="val") == {"val/top1": 100.0}


def test_equal_scores_are_no_success():
    """A collapsed model says the same of every class; with `argmax` or `topk` it could reach 100 %."""
    assert measure([([0.0] * 10, 3)], topk=(1, 5)) == {"top1": 10.0, "top5": 50.0}
    assert measure([([2.0, 1, 1, 1, 0], 2)], topk=(1, 2, 4)) == pytest.approx({"top1": 0, "top2": 100 / 3, "top4": 100})


def test_scores_that_are_nan_are_wrong():
    """Compared with NaN nothing is larger, so a model that diverged would look perfect."""
    assert measure([([float("nan")] * 3, 0), ([1.0, float("nan"), 0], 0)], topk=2) == {"top2": 0.0}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.permutations(range(6)), st.integers(0, 5)), min_size=1, max_size=8),
    st.integers(1, 6),
)
def test_it_agrees_with_sorting(samples, k):
    """An independent count: the label is among the first k classes, sorted by score."""
    want = sum(label in sorted(range(6), key=lambda c: -scores[c])[:k] for scores, label in samples)
    found = measure([([float(s) for s in scores], label) for scores, label in samples], topk=k)
    assert found[f"top{k}"] == pytest.approx(100 * want / len(samples))


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([([1.0, 2], 0)], {"topk": (1, 5)}, r"Accuracy\.topk: k is 5, and there are 2 classes"),
        ([([1.0, 2], 0), ([1.0, 2, 3], 0)], {}, r"differ in length \(expected 2 classes, got 3\)"),
        ([([1.0, 2], 2)], {}, r"label 2 is none of 2 classes"),
        ([([1.0, 2], -1)], {}, r"label -1 is none of 2 classes"),
        ([([[1.0, 2]], 0)], {}, r"no single axis \(got shape \(1, 2\)\)"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(samples, options, message):
    """A label beyond the scores, or a k beyond the classes, would end in an index error or in 100 %."""
    with pytest.raises(UsageError, match=message):
        measure(samples, **options)


@pytest.mark.parametrize("topk", [0, (), (1, -2), 1.5, "5", True, (1, None)])
def test_a_k_that_is_none_is_refused(topk):
    """It would be found out only after the first epoch."""
    with pytest.raises(UsageError, match=r"Accuracy\.topk"):
        Accuracy(topk)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"pred_score": torch.zeros(3)}, r"no label.*TorchModel\.labels"),
        ({"pred_score": torch.zeros(3), "gt_label": torch.zeros(2, dtype=torch.long)}, r"not one class"),
        ({"gt_label": torch.zeros(1)}, r"no class scores.*got gt_label"),
        (torch.zeros(3), r"no class scores.*got Tensor"),
    ],
)
def test_samples_without_score_or_label_are_refused(sample, message):
    """Another model's predictions are not silently measured as zero."""
    with pytest.raises(UsageError, match=message):
        Accuracy().process(None, [sample])
