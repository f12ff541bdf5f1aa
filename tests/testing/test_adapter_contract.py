"""The adapter contract itself: it must find each defect that it exists for, and say what to mend."""

import pytest
import torch
from torch import nn

from kdhub.testing.contracts import assert_adapter_contract


class NoModule:
    def forward(self, value, like):
        return value


class GoodAdapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 9)

    def forward(self, value, like):
        return self.layer(value)


class SwapsArguments(GoodAdapter):
    def forward(self, like, value):
        return self.layer(value)


class WrongShape(GoodAdapter):
    def forward(self, value, like):
        return value


class DividesByZero(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value) / 0


class CutsGradient(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value.detach())


class CopiesTeacher(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value) + like


class PeeksAtTeacher(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value) + like.detach().mean()


class RefusesHalf(GoodAdapter):
    def forward(self, value, like):
        if value.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return self.layer(value)


class OverflowsUnderAutocast(GoodAdapter):
    def forward(self, value, like):
        result = self.layer(value)
        return result if result.dtype == torch.float32 else result / 0


class LosesWeights(GoodAdapter):
    def __init__(self):
        super().__init__()
        self.hidden = [torch.randn(9)]

    def forward(self, value, like):
        return self.layer(value) + self.hidden[0]


def test_a_good_adapter_passes():
    """A contract that refuses correct adapters teaches authors to skip it."""
    assert_adapter_contract(GoodAdapter, value=(4, 6), like=(4, 9))
    assert_adapter_contract(WrongShape, value=(4, 6), like=(4, 9), result=(4, 6))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (NoModule, "is no torch.nn.Module"),
        (SwapsArguments, r"forward takes like, value -> write forward\(self, value, like\)"),
        (WrongShape, r"turns \(4, 6\) into \(4, 6\), wanted \(4, 9\)"),
        (DividesByZero, "not finite"),
        (CutsGradient, "no gradient reaches the student's value"),
        (CopiesTeacher, "a gradient reaches the teacher's value"),
        (PeeksAtTeacher, "depends on the teacher's numbers"),
        (RefusesHalf, r"fails on torch\.bfloat16 under autocast"),
        (OverflowsUnderAutocast, r"is not finite on torch\.float32 under autocast"),
        (LosesWeights, "another value after a checkpoint"),
    ],
)
def test_a_bad_adapter_is_told_what_to_mend(adapter, message):
    """An adapter that peeks at the teacher makes the loss fall without the student learning anything."""
    with pytest.raises(AssertionError, match=rf"^{adapter.__name__}: .*{message}"):
        assert_adapter_contract(adapter, value=(4, 6), like=(4, 9))


def test_every_breach_of_an_adapter_is_told_at_once():
    """One breach a run makes five runs; what follows from a breach is none of its own."""

    class Twice(nn.Module):
        def forward(self, value, like):
            return value.detach() + like.mean()

    with pytest.raises(AssertionError) as caught:
        assert_adapter_contract(Twice, value=(2, 3), like=(2, 4))
    told = str(caught.value).splitlines()
    assert len(told) == 3
    for words in (
        "turns (2, 3) into (2, 3)",
        "no gradient reaches the student's value",
        "depends on the teacher's numbers",
    ):
        assert words in str(caught.value)
