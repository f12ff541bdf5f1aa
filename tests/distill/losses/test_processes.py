"""`gathered` in one process; what two processes exchange is tested with the losses of kdret and kdtrg that do it."""

import torch

from kdhub.distill.losses.processes import _counted, gathered


def test_one_process_has_all_rows():
    """A copy, or a new node in the graph, would cost every run for what only some need."""
    one, two = torch.randn(3, 4), torch.randn(2, 3, 5)
    found = gathered("Loss", "rows", one=one, two=two)
    assert found[0] is one
    assert found[1] is two


def test_rows_are_counted_by_all_axes_but_the_last():
    """Two processes may have the same number of images, and other numbers of tokens."""
    rows = {"texts": torch.randn(3, 4), "tokens": torch.randn(2, 3, 5)}
    assert _counted([3, 2, 3], rows) == "3 texts and 2·3 tokens"
