"""Which images are drawn, and the numbers above them, by hand."""

import math

import numpy as np

from kdseg.panels.compare import difference, edge_band, right

VOID = 255


def row(*labels):
    return np.array([labels], np.uint8)


def test_only_pixels_where_exactly_one_is_right_count():
    """Two different mistakes are no difference in quality, and void pixels have no right answer."""
    truth = row(0, 0, 0, 1, 1, VOID)
    found = difference(truth, first=row(0, 0, 1, 1, 2, 0), second=row(0, 1, 0, 1, 0, 1))
    assert found.gained.tolist() == [[False, True, False, False, False, False]]
    assert found.lost.tolist() == [[False, False, True, False, False, False]]
    assert found.pixels == 2


def test_share_of_right_pixels():
    """Void counted as wrong would punish images with much of it, and a band may be empty."""
    truth, prediction = row(0, 0, 1, 1, VOID), row(0, 1, 1, 1, 1)
    assert right(truth, prediction) == 75
    assert right(truth, prediction, row(0, 1, 1, 0, 1).astype(bool)) == 50
    assert math.isnan(right(truth, prediction, np.zeros((1, 5), bool)))
    assert math.isnan(right(np.full((1, 5), VOID), prediction))


def test_band_lies_on_both_sides_of_a_boundary():
    """Drawn elsewhere than where the metric measures, the band would explain nothing."""
    truth = row(0, 0, 0, 0, 1, 1, 1, VOID)
    assert edge_band(truth, 1).tolist() == [[False, False, False, True, True, False, False, False]]
    assert edge_band(truth, 3).tolist() == [[False, True, True, True, True, True, True, False]]
    assert not edge_band(row(2, 2, VOID, 2), 3).any()
