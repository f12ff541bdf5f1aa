"""What counts as the same sample."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from kdhub.engine.resume.comparison import same
from kdhub.fingerprints import json_fallback

NAN, INF = math.nan, math.inf
LARGEST = torch.finfo(torch.float32).max


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NAN, 0.0),
        (INF, -INF),
        (INF, LARGEST),
        (-INF, -LARGEST),
        (NAN, INF),
    ],
)
@pytest.mark.parametrize(
    "put",
    [
        torch.tensor,
        lambda value: torch.tensor(complex(1.0, value)),
        np.array,
        np.float32,
        lambda value: np.array([value], object),
        float,
        lambda value: complex(0.0, value),
        lambda value: {"a": [(torch.tensor([1.0, value]),)]},
        lambda value: PixelData(data=torch.full((1, 2, 2), value)),
    ],
)
def test_a_nan_and_an_infinity_equal_no_number(put: Any, one: float, other: float) -> None:
    """An augmentation that began to give NaN was taken for the black pixel that it replaced, and the store answered for it."""
    assert not same(put(one), put(other))
    assert not same(put(other), put(one))
    assert same(put(one), put(one))
    assert same(put(other), put(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (np.datetime64("NaT"), np.datetime64("2020-01-01")),
        (1, 1.0),
        ([1], (1,)),
        ({"a": 1}, {"b": 1}),
        ("a", "b"),
    ],
)
def test_values_that_differ(one: Any, other: Any) -> None:
    """Whatever is overlooked here lets a store answer for samples that it never saw."""
    assert not same(one, other)
    assert same(one, one)


@dataclasses.dataclass
class Sample:
    image: Any


def test_tensors_in_dataclasses_and_sparse_ones() -> None:
    """The data set's check ended in "Boolean value of Tensor is ambiguous", or in an operator that sparse tensors lack."""
    assert same(Sample(torch.eye(2)), Sample(torch.eye(2)))
    assert not same(Sample(torch.eye(2)), Sample(torch.ones(2, 2)))
    assert same(torch.eye(2).to_sparse(), torch.eye(2).to_sparse())
    assert not same(torch.eye(2).to_sparse(), torch.zeros(2, 2).to_sparse())
    assert json_fallback(torch.eye(2).to_sparse()) == json_fallback(torch.eye(2).to_sparse())
    assert json_fallback(torch.eye(2).to_sparse()) != json_fallback(torch.zeros(2, 2).to_sparse())
