"""Proposed adapters: the fragment in the error message must work when it is pasted."""

import torch
from hypothesis import given, settings, strategies as st

from kdhub.distill.propose import propose_adapter
from kdhub.registry import build

small = st.integers(1, 12)
few = settings(deadline=None, max_examples=60)


def apply(student_shape, teacher_shape):
    """Build the fragment as the objective does and return the shape it leads to."""
    value, like = torch.randn(student_shape), torch.randn(teacher_shape)
    for cfg in propose_adapter(student_shape, teacher_shape) or []:
        value = build("adapter", cfg)(value, like)
    return tuple(value.shape)


@given(data=st.data(), rank=st.integers(2, 4))
@few
def test_the_fragment_leads_to_the_teachers_shape(data, rank):
    """A remedy that fails in its turn is worse than none."""
    batch = data.draw(small)
    student, teacher = ((batch, *(data.draw(small) for _ in range(rank - 1))) for _ in range(2))
    assert apply(student, teacher) == teacher


@given(student=st.integers(1, 5), teacher=st.integers(1, 5), prefix=st.integers(0, 1), width=small)
@few
def test_square_images_are_pooled_as_images(student, teacher, prefix, width):
    """Patches of a square image, with or without class token, have neighbours above and below."""
    ours, theirs = (2, student**2 + prefix, 3), (2, teacher**2 + prefix, width)
    assert apply(ours, theirs) == theirs


def test_a_class_token_is_kept():
    """197 tokens are 14 x 14 patches and a class token; 50 are 7 x 7 and one."""
    assert propose_adapter((2, 197, 192), (2, 50, 768)) == [
        {"type": "kdhub.TokenPool", "keep_prefix": 1, "grid": (14, 14)},
        {"type": "kdhub.Linear", "in_features": 192, "out_features": 768},
    ]


def test_the_projection_goes_where_the_map_is_smaller():
    """On the larger map the same projection costs up to the square of the ratio more."""
    enlarge = propose_adapter((2, 64, 8, 8), (2, 256, 32, 32))
    shrink = propose_adapter((2, 64, 32, 32), (2, 256, 8, 8))
    assert [cfg["type"] for cfg in enlarge] == ["kdhub.Conv1x1", "kdhub.SpatialResize"]
    assert [cfg["type"] for cfg in shrink] == ["kdhub.SpatialResize", "kdhub.Conv1x1"]


def test_what_fits_gets_no_adapter():
    """An adapter between equal shapes would learn what the student should."""
    assert propose_adapter((2, 64, 8, 8), (2, 64, 8, 8)) is None
    assert propose_adapter((2, 64, 8, 8), (2, 64, 4, 4)) == [{"type": "kdhub.SpatialResize"}]


def test_what_no_adapter_mends_gets_none():
    """Another batch size or number of axes is a wrong tap; a proposal would hide that."""
    for student, teacher in (
        ((2, 64), (3, 64)),
        ((2, 64), (2, 64, 7, 7)),
        ((2, 49, 64), (2, 64, 7, 7)),
        ((2,), (2, 3)),
        ((), ()),
        ((2, 3, 4, 5, 6), (2, 3, 4, 5, 7)),
        ((2, 0, 64), (2, 7, 64)),
    ):
        assert propose_adapter(student, teacher) is None
