"""Values kept in less than they are: how close they come back, and that the manifest tells."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_store import fill, make_manifest
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.store import Precision, StoreReader, StoreWriter, find_tree, measured_errors


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(("name", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_halved_values_are_the_nearest_that_there_are(tmp_path: Path, name: str, bits: int) -> None:
    """Bits read as another type of the same size are plausible numbers, and wrong."""

    def values(indices: list[int]) -> Tensor:
        return torch.tensor([[math.pi * (index + 1), -1e-3] for index in indices])

    fill(tmp_path, {"head": values}, name)
    got = StoreReader(tmp_path).read([(2, 0), (7, 1)])["head"]
    exact = values([2, 107])
    assert str(got.dtype) == f"torch.{name}"
    assert ((got.float() - exact).abs() <= exact.abs() * 2.0**-bits).all()
    errors = measured_errors(find_tree([(2, exact), (1, exact[:1])], name), [(2, exact)], name, "head")
    assert errors == {"samples": 2, "max_abs": pytest.approx(float((got.double() - exact.double()).abs().max()))}


def test_top_classes_come_back_with_the_probability_left_spread_over_the_rest(tmp_path: Path) -> None:
    """A rest filled with 0 or -inf would give the student targets that the teacher never had."""

    def head(indices: list[int]) -> Tensor:
        return torch.stack([torch.randn(6, 2, 2, generator=torch.Generator().manual_seed(index)) for index in indices])

    fill(tmp_path, {"head": head}, "topk:2")
    got = StoreReader(tmp_path).read([(4, 0), (1, 0)])["head"].numpy()
    exact = head([4, 1]).numpy()
    p, q = softmax(exact.astype(np.float64), 1), softmax(got.astype(np.float64), 1)
    order = np.argsort(-exact, axis=1)
    top, rest = order[:, :2], order[:, 2:]
    assert np.array_equal(np.take_along_axis(got, top, 1), np.take_along_axis(exact, top, 1))
    assert np.allclose(np.take_along_axis(q, top, 1), np.take_along_axis(p, top, 1), atol=1e-6)
    assert np.allclose(np.take_along_axis(q, rest, 1), np.take_along_axis(p, rest, 1).mean(axis=1, keepdims=True))
    nats = (p * np.log(p / q)).sum(axis=1)
    values = [(2, head([4, 1])), (1, head([4]))]
    errors = measured_errors(find_tree(values, "topk:2"), values[:1], "topk:2", "head")
    assert errors["kl_mean"] == pytest.approx(nats.mean(), rel=1e-3)
    assert errors["kl_max"] == pytest.approx(nats.max(), rel=1e-3)
    assert errors["max_abs"] == pytest.approx(np.abs(exact - got).max(), rel=1e-5)


def test_classes_that_are_ruled_out_stay_ruled_out() -> None:
    """A masked class has the logit -inf; a rest of nothing but such classes must not become nan."""
    logits = torch.tensor([[1.0, -math.inf, 2.0, -math.inf], [1.0, 0.0, 2.0, -math.inf]])
    form = Precision.parse("topk:2")
    restored = form.unpack(form.pack(logits, 4, "head"), 4)
    assert torch.equal(restored[0], logits[0])
    assert restored[1].softmax(0)[[1, 3]].sum() == pytest.approx(float(logits[1].softmax(0)[1]))
    found = measured_errors(find_tree([(2, logits), (1, logits[:1])], "topk:2"), [(1, logits[:1])], "topk:2", "head")
    assert found == {"samples": 1, "max_abs": 0.0, "kl_mean": 0.0, "kl_max": 0.0}


def test_classes_may_be_on_the_last_axis_and_of_varying_tokens(tmp_path: Path) -> None:
    """Language models have their classes last, and a sample as many rows as it has tokens."""

    def tokens(indices: list[int]) -> list[Tensor]:
        return [torch.arange(300.0).repeat(index % 3, 1) * (index + 1) for index in indices]

    fill(tmp_path, {"tokens": tokens}, "topk:3@-1:float16")
    got = StoreReader(tmp_path).read([(2, 0), (3, 0), (4, 0)])["tokens"]
    assert [entry.shape for entry in got] == [(2, 300), (0, 300), (1, 300)]
    assert got[0].argmax(-1).tolist() == [299, 299]
    assert got[0][0, -3:].tolist() == [891.0, 894.0, 897.0]


def test_less_is_kept_of_a_sample_than_it_has(tmp_path: Path) -> None:
    """A mode that saves nothing is a slower float32: sizes are those of the arithmetic, 4 of 32 classes at 9 pixels."""
    from kdhub.store import store_info

    sizes = {}
    for name in ("float32", "bfloat16", "topk:4", "topk:4:float16"):
        fill(tmp_path / name, {"head": lambda indices: torch.ones(len(indices), 32, 3, 3)}, name)
        info = store_info(tmp_path / name)
        assert (info.records, info.missing, info.shards, info.blocks) == (20, 0, 1, 2)
        sizes[name] = info.record_bytes["head"]
    assert sizes == {"float32": 1152, "bfloat16": 576, "topk:4": 9 * (4 * 5 + 4), "topk:4:float16": 9 * (4 * 3 + 2)}


@pytest.mark.parametrize(
    ("value", "precision", "message"),
    [(1e5, "float16", "too large for float16.*100000.*bfloat16"), (math.nan, "float32", "not a number")],
)
def test_values_that_would_be_stored_wrongly_are_refused(
    tmp_path: Path, value: float, precision: str, message: str
) -> None:
    """An infinite logit or a nan from the store trains the student to nan, long after the teacher could be looked at."""
    manifest = make_manifest({"head": lambda indices: torch.ones(len(indices), 3)}, precision)
    writer = StoreWriter.open(tmp_path, manifest)
    with pytest.raises(UsageError, match=message):
        writer.add([(0, 0)], {"head": torch.tensor([[1.0, value, 2.0]])})
    writer.add([(0, 0)], {"head": torch.tensor([[1.0, -math.inf, 2.0]])})


@pytest.mark.parametrize(
    ("name", "message"),
    [("float8", "unknown precision"), ("topk:0", "unknown"), ("topk:3", "leaves no class out"), ("topk:1@2", "axis 2")],
)
def test_a_precision_that_means_nothing_is_refused(name: str, message: str) -> None:
    """A K that keeps everything, or an axis without classes, would cost space and gain none."""
    with pytest.raises(UsageError, match=message):
        find_tree([(2, torch.ones(2, 3)), (1, torch.ones(1, 3))], name)


@pytest.mark.parametrize("name", [16, None, ["float16"], "fp16"])
def test_what_is_no_precision_is_told(name: object) -> None:
    """``--cfg-options model.teacher.precision=16`` ended in a traceback out of a regular expression."""
    with pytest.raises(UsageError, match=r"unknown precision .* \(expected float32, float16"):
        Precision.parse(name)  # type: ignore[arg-type]
