"""Weights under another implementation's names: taken by their order, and refused if anything differs."""

import pytest
import torch

from kdhub.checkpoint.packaged import renamed
from kdhub.errors import UsageError


def test_other_weights_are_refused():
    """A scale and a variance have one shape: exchanged, the network would run and see nothing."""
    norm = torch.nn.BatchNorm1d(2).state_dict()
    swapped = dict(zip(["weight", "bias", "running_var", "running_mean"], list(norm.values())[:4], strict=True))
    swapped["num_batches_tracked"] = norm["num_batches_tracked"]
    with pytest.raises(UsageError, match=r"file: weight 'running_var' does not belong at 'running_mean'"):
        renamed(swapped, norm, where="file")
    with pytest.raises(UsageError, match=r"expected weight \(3,\), got weight \(2,\)"):
        renamed(norm, torch.nn.BatchNorm1d(3).state_dict(), where="file")
    with pytest.raises(UsageError, match=r"not the weights of this network \(expected 5 tensors, got 2 tensors\)"):
        renamed(torch.nn.Linear(2, 2).state_dict(), norm, where="file")
