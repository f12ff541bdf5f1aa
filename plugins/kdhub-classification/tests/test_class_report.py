"""`ClassReport`: accuracy by class and by class size, and calibration, against numbers by hand."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmengine.evaluator import Evaluator

from kdcls.class_report import ClassReport
from kdhub.api import Accuracy, UsageError, init


def samples(scores, labels):
    return [
        {"pred_score": torch.as_tensor(score, dtype=torch.float32), "gt_label": torch.tensor([label])}
        for score, label in zip(scores, labels, strict=True)
    ]


def report(predicted, labels, **options):
    """Run it as the runner does."""
    init()
    metric = ClassReport(**{"topk": 1, "scores": "probabilities", **options})
    metric.dataset_meta = {"classes": ("ant", "bee", "cat")}
    metric.process({}, samples(predicted, labels))
    return metric.evaluate(len(labels)), metric


PROBABILITIES = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05]]
LABELS = [0, 1, 1, 1, 2]


def test_figures_by_hand():
    """Ant 1 of 1, bee 2 of 3, cat 0 of 1: the mean over samples, 60 %, is not the mean over classes."""
    found, metric = report(PROBABILITIES, LABELS, per_class=True, train=[500, 50, 5], bins=5)
    assert found["top1"] == pytest.approx(60.0)
    assert found["mean_class"] == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)
    assert (found["many"], found["few"]) == (100.0, 0.0)
    assert found["medium"] == pytest.approx(200 / 3)
    assert found["top1_bee"] == pytest.approx(200 / 3)
    # bins of 0.2: (0.4, 0.6] holds 0.6 right and 0.5 wrong; (0.6, 0.8] 0.8 and 0.7, both right; (0.8, 1] 0.9 wrong
    assert [one.samples for one in metric.bins_found] == [2, 2, 1]
    assert found["ece"] == pytest.approx(100 * (2 * abs(0.5 - 0.55) + 2 * abs(1 - 0.75) + 0.9) / 5, abs=1e-4)


def test_bounds_of_class_sizes_are_the_literatures():
    """More than 100 is many, fewer than 20 is few; off by one moves classes between the columns of a table."""
    found, metric = report(PROBABILITIES, LABELS, train=[100, 20, 19])
    assert metric._groups() == {"many": [], "medium": [0, 1], "few": [2]}
    assert "many" not in found


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 20))
def test_it_agrees_with_the_core_and_its_bins_hold_every_sample(seed, bins):
    """Two top-1 of one run that differ would make one of them a lie."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-2, 3, (9, 3), generator=generator).float()
    labels = torch.randint(0, 3, (9,), generator=generator).tolist()
    found, metric = report(logits, labels, topk=(1, 2), scores="logits", bins=bins)
    core = Accuracy((1, 2))
    core.process({}, samples(logits, labels))
    expected = core.evaluate(9)
    assert {name: found[name] for name in expected} == expected
    assert sum(one.samples for one in metric.bins_found) == 9
    assert 0 <= found["ece"] <= 100
    assert all(one.lowest - 1e-6 <= one.confidence <= one.lowest + 1 / bins + 1e-6 for one in metric.bins_found)


def test_a_perfect_model_is_calibrated():
    """Confidence 1 and always right: error 0, in the last bin."""
    found, metric = report([[1.0, 0.0, 0.0]] * 3, [0] * 3)
    assert found["ece"] == 0.0
    assert metric.bins_found[0].lowest == pytest.approx(14 / 15)


def test_nan_is_wrong_and_not_confident():
    """A diverged model must not vanish from the figures."""
    found, _ = report([[float("nan")] * 3, [0.0, 1.0, 0.0]], [0, 1])
    assert found["top1"] == 50.0
    assert found["ece"] == 0.0


def test_logits_taken_for_probabilities_are_refused():
    """Their maximum is no confidence, and the error would still be a number."""
    with pytest.raises(UsageError, match=r"no probabilities.*scores='logits'"):
        report([[3.0, -1.0, 0.0]], [0])


def test_training_data_of_other_classes_are_refused():
    """Class sizes of another data set would put classes into the wrong column."""
    with pytest.raises(UsageError, match="another number of classes"):
        report(PROBABILITIES, LABELS, train=[500, 50])
    with pytest.raises(UsageError, match="few is above many"):
        ClassReport(few=30, many=10)


def test_class_sizes_are_counted_from_the_training_data(image_folder):
    """A list of counts beside a data set is one more thing to forget when the seed changes."""
    root = str(image_folder({"ant": 4, "bee": 2, "cat": 1}))
    data = {"type": "kdhub.TorchDataset", "data": {"type": "kdcls.ImageFolder", "root": root}}
    found, metric = report(PROBABILITIES, LABELS, train=data, many=3, few=2)
    assert metric.train_counts == [4, 2, 1]
    assert (found["many"], found["few"]) == (100.0, 0.0)


def test_it_runs_in_an_evaluator_by_config():
    """Mmengine copies results between processes in its own way."""
    init()
    evaluator = Evaluator({"type": "kdcls.ClassReport", "topk": [1, 2]})
    evaluator.process(samples([[2.0, 0.0], [0.0, 1.0]], [0, 0]), {})
    assert evaluator.evaluate(2)["top1"] == 50.0
