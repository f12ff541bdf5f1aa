"""The loops' iteration over passes of the data."""

from __future__ import annotations

from itertools import chain, islice

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from kdhub.engine.loops import Batches
from kdhub.engine.sampling import keyed_loader
from kdhub.errors import UsageError


def batches(size: int, drop_last: bool = False) -> Batches:
    """Iterate over numbers in batches of two, in another order in each pass."""
    data = list(range(size))
    sampler = DefaultSampler(data, shuffle=True, seed=0)  # type: ignore[arg-type]
    plain = DataLoader(data, batch_size=2, sampler=sampler, collate_fn=list, drop_last=drop_last)  # type: ignore[arg-type]
    return Batches(keyed_loader(plain, seed=0))


@pytest.mark.parametrize("done", range(7))
def test_entered_anywhere_it_goes_on_alike(done: int) -> None:
    """Mmengine's loop begins a pass again, or skips by a rule that holds for one sampler only."""
    whole, entered = batches(5), batches(5)
    expected = list(islice(whole, 9))
    passes = [sorted(chain.from_iterable(expected[first : first + 3])) for first in (0, 3)]
    assert passes == [list(range(5))] * 2
    assert expected[:3] != expected[3:6]
    entered.enter(*divmod(done, 3))
    assert list(islice(entered, 9 - done)) == expected[done:]
    assert (entered.passes, entered.done) == (whole.passes, whole.done) == (2, 3)


def test_the_end_of_a_pass_is_a_position() -> None:
    """A checkpoint behind the last batch of a pass says so, and the next batch is the next pass's first."""
    whole, entered = batches(4), batches(4)
    expected = list(islice(whole, 3))
    entered.enter(0, 2)
    assert next(entered) == expected[2]


def test_the_rest_of_an_epoch() -> None:
    """An epoch-based loop ends with its epoch, and the next one begins at its start."""
    one = batches(5)
    expected = [*one.rest_of_pass(), *one.rest_of_pass()]
    assert len(expected) == 6
    entered = batches(5)
    entered.enter(1, 2)
    assert list(entered.rest_of_pass()) == expected[5:]
    assert (entered.passes, entered.done) == (2, 0)


def test_data_that_gives_no_batch() -> None:
    """Fewer samples than a batch, with drop_last, would be looked for until the machine is switched off."""
    with pytest.raises(UsageError, match="gives no batch"):
        next(batches(1, drop_last=True))
