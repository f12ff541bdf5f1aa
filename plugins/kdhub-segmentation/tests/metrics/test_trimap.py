"""`TrimapIoU`: numbers by hand, a plain loop over pixels, mmseg's own mIoU, and evaluations that would be quietly wrong."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdseg.metrics.trimap import TrimapIoU, boundary_rings

VOID = 255
CLASSES = ("road", "car", "sky")

few = settings(deadline=None, max_examples=25)


def sample(truth, prediction):
    """What mmengine's evaluator hands a metric of mmseg: dicts of `(1, H, W)` maps."""
    maps = {"gt_sem_seg": truth, "pred_sem_seg": prediction}
    return {key: {"data": torch.as_tensor(labels)[None]} for key, labels in maps.items()}


def evaluate(metric, *pairs, classes=CLASSES):
    metric.dataset_meta = {"classes": classes}
    for truth, prediction in pairs:
        metric.process(None, [sample(truth, prediction)])
    return metric.evaluate(len(pairs))


def random_pair(seed, classes=3):
    """Two blobby maps that agree in most places, with void here and there."""
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 12, 2)
    coarse = generator.integers(0, classes, (4, 4))
    truth = coarse[np.arange(height)[:, None] // 3, np.arange(width) // 3]
    prediction = np.where(generator.random(truth.shape) < 0.7, truth, generator.integers(0, classes, truth.shape))
    return np.where(generator.random(truth.shape) < 0.1, VOID, truth), prediction


def by_loop(pairs, in_region, classes=3):
    """Mean IoU in percent, counted pixel by pixel; `in_region` gets the distance to the nearest pixel of another class."""
    hits, unions = np.zeros(classes), np.zeros(classes)
    for truth, prediction in pairs:
        for (y, x), label in np.ndenumerate(truth):
            others = [
                max(abs(y - j), abs(x - i)) for (j, i), other in np.ndenumerate(truth) if other not in (label, VOID)
            ]
            if label == VOID or not in_region(min(others, default=math.inf)):
                continue
            for one in {label, prediction[y, x]}:
                unions[one] += 1
            hits[label] += label == prediction[y, x]
    found = unions > 0
    return 100 * np.mean(hits[found] / unions[found]) if found.any() else math.nan


def test_numbers_by_hand():
    """The example of the docstring: a band on one side only, or one pixel off, changes every number of a table."""
    found = evaluate(TrimapIoU([1]), ([[0, 0, 0, 0, 1, 1, 1, 1]], [[0, 0, 0, 1, 1, 1, 1, 0]]))
    assert found == {
        "trimap/mIoU_edge1": pytest.approx(25.0),
        "trimap/mIoU_body": pytest.approx(100 * (3 / 4 + 2 / 3) / 2),
    }


def test_default_names():
    """Configs that save the best checkpoint, and tables, look these names up."""
    names = list(evaluate(TrimapIoU(), ([[0, 1]], [[0, 1]])))
    assert names == [f"trimap/mIoU_{region}" for region in ("edge1", "edge3", "edge5", "body")]


@given(seed=st.integers(0, 10_000), widths=st.sampled_from([(1, 3, 5), (2,), (4, 1)]))
@few
def test_equals_a_loop_over_pixels(seed, widths):
    """Pooling, rings and sums over images must mean the distance that the docstring promises, void included."""
    pairs = [random_pair(seed), random_pair(seed + 1)]
    found = evaluate(TrimapIoU(widths), *pairs)
    for width in widths:
        expected = by_loop(pairs, lambda distance, width=width: distance <= width)
        assert found[f"trimap/mIoU_edge{width}"] == pytest.approx(expected, nan_ok=True)
    expected = by_loop(pairs, lambda distance: distance > max(widths))
    assert found["trimap/mIoU_body"] == pytest.approx(expected, nan_ok=True)


def test_a_band_over_the_whole_image_is_mmsegs_miou():
    """Numbers that stand beside mmseg's in a table must be of its kind: percent, nanmean over classes."""
    with warnings.catch_warnings():
        # importing mmseg warns of names that its own dependencies have deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        from mmseg.evaluation import IoUMetric
    truth, prediction = random_pair(3)
    wide = evaluate(TrimapIoU([50]), (truth, prediction), classes=(*CLASSES, "never"))
    theirs = IoUMetric(prefix="mmseg")
    found = evaluate(theirs, (truth, prediction), classes=(*CLASSES, "never"))
    assert wide["trimap/mIoU_edge50"] == pytest.approx(found["mmseg/mIoU"], abs=0.005)


def test_void_makes_no_boundary_and_counts_nowhere():
    """CamVid's objects are rimmed with void: counted as boundaries, the bands would measure the annotators."""
    truth = torch.tensor([[0, 0, VOID, VOID, 1, 1]])
    assert boundary_rings(truth, [1]).tolist()[0][:2] == [1, 1]
    assert boundary_rings(truth, [3])[truth != VOID].tolist() == [1, 0, 0, 1]
    one_class = torch.tensor([[0, VOID, 0]])
    assert boundary_rings(one_class, [1])[one_class != VOID].tolist() == [1, 1]
    found = evaluate(TrimapIoU([3]), (truth, [[0, 0, 0, 2, 1, 1]]))
    assert found == {"trimap/mIoU_edge3": 100.0, "trimap/mIoU_body": 100.0}


def test_an_image_without_boundary_leaves_the_bands_empty():
    """NaN says that nothing was measured; 0 or 100 would enter averages."""
    found = evaluate(TrimapIoU([1]), ([[1, 1]], [[1, 0]]))
    assert math.isnan(found["trimap/mIoU_edge1"])
    assert found["trimap/mIoU_body"] == pytest.approx(25.0)
    assert math.isnan(evaluate(TrimapIoU([1]), ([[VOID]], [[0]]))["trimap/mIoU_body"])


def test_one_small_result_per_image():
    """Results are gathered by image from all processes, and mmengine drops padded ones: whole maps would fill the memory."""
    metric = TrimapIoU()
    metric.dataset_meta = {"classes": CLASSES}
    metric.process(None, [sample(*random_pair(0)), sample(*random_pair(1))])
    assert [tuple(result.shape) for result in metric.results] == [(4, 3, 3)] * 2
    assert metric.results[0].dtype == torch.int64


def test_order_of_images_does_not_matter():
    """The number of processes must not move a metric."""
    pairs = [random_pair(seed) for seed in range(4)]
    assert evaluate(TrimapIoU(), *pairs) == evaluate(TrimapIoU(), *reversed(pairs))


def test_maps_that_cannot_be_compared_are_refused():
    """A prediction at the network's size, or a label map of another data set, would give a plausible number."""
    with pytest.raises(UsageError, match=r"differ in size \(expected a prediction of \(1, 2\).*got \(2, 2\)"):
        evaluate(TrimapIoU(), ([[0, 1]], [[0, 1], [0, 1]]))
    with pytest.raises(UsageError, match=r"the truth holds a label that is no class \(expected 0 to 2, got 3\)"):
        evaluate(TrimapIoU(), ([[0, 3]], [[0, 1]]))
    with pytest.raises(UsageError, match=r"the prediction holds a label that is no class \(expected 0 to 2, got 7\)"):
        evaluate(TrimapIoU(), ([[0, 1]], [[0, 7]]))


def test_a_data_set_without_truth_or_classes_is_named():
    """Test splits of challenges have no truth; a KeyError would not say so."""
    metric = TrimapIoU()
    metric.dataset_meta = {"classes": CLASSES}
    with pytest.raises(UsageError, match="gives no truth"):
        metric.process(None, [{"pred_sem_seg": {"data": torch.zeros(1, 2, 2)}}])
    metric.dataset_meta = {"palette": []}
    with pytest.raises(UsageError, match="names no classes"):
        metric.process(None, [sample([[0]], [[0]])])


@pytest.mark.parametrize("widths", [[], [0], [1, 1], [1.5]])
def test_impossible_widths_are_refused_before_evaluation(widths):
    """An evaluation comes after hours of training."""
    with pytest.raises(UsageError, match="TrimapIoU: bad width"):
        TrimapIoU(widths)
