"""What a fingerprint counts of values that JSON has no form for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdhub.described import described


class Thing:
    pass


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Path("a"), Path("b")),
        (np.zeros(3), np.ones(3)),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(1, np.int64), np.zeros(1, np.float64)),
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(4), torch.zeros(2, 2)),
        (torch.zeros(2, dtype=torch.float16), torch.zeros(2, dtype=torch.bfloat16)),
        (np.array(["a", None], object), np.array(["b", None], object)),
        (np.float32(1), np.float32(2)),
        (Thing, Path),
        (len, print),
    ],
)
def test_what_differs_is_told_apart(one, other):
    """Two teachers or data sets with one fingerprint share a store, whose answers are wrong for one of them."""
    texts = {json.dumps(value, default=described) for value in (one, other)}
    assert len(texts) == 2


@pytest.mark.parametrize("make", [Thing, lambda: torch.arange(4).reshape(2, 2).T, lambda: np.arange(4)[::2], Path])
def test_what_is_equal_is_one(make):
    """An address in a fingerprint, or the layout of an array, would refuse each store in the next process."""
    first, second = make(), make()
    assert described(first) == described(second)


def test_layout_does_not_count():
    """A transposed view and its copy hold the same values."""
    view = torch.arange(6.0).reshape(2, 3).T
    assert described(view) == described(view.clone(memory_format=torch.contiguous_format))
    assert described(view.numpy()) == described(view.numpy().copy())
