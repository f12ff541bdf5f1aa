"""`Tokens`: which cell becomes which token, class tokens, and unequal grids."""

import pytest
import torch

from kdhub.errors import UsageError
from kdhub.testing import assert_adapter_contract
from kdtrg.tokens import Tokens


@pytest.mark.parametrize(
    ("arguments", "value", "like", "result"),
    [
        ({}, (2, 3, 4, 4), (2, 9, 4, 4), (2, 16, 3)),
        ({"patch": 2}, (2, 3, 4, 6), (2, 9, 4, 6), (2, 6, 12)),
        ({}, (2, 3, 8, 8), (2, 9, 4, 4), (2, 16, 3)),
        ({}, (2, 3, 4, 4), (2, 9, 8, 8), (2, 16, 3)),
        ({"patch": 2}, (2, 3, 7, 8), (2, 9, 4, 4), (2, 4, 12)),
        ({"prefix": 1}, (2, 17, 5), (2, 9, 4, 4), (2, 16, 5)),
        ({"prefix": 2}, (2, 8, 5), (2, 9, 5), (2, 6, 5)),
        ({"prefix": 1, "grid": (2, 2)}, (2, 17, 5), (2, 9, 2, 2), (2, 4, 5)),
        ({"prefix": 1, "grid": (7, 7)}, (1, 197, 5), (1, 9, 7, 7), (1, 49, 5)),
        ({"grid": (2, 3)}, (2, 6, 5), (2, 9, 2, 3), (2, 6, 5)),
        ({"grid": (2, 2), "patch": 2}, (2, 3, 8, 8), (2, 5, 9), (2, 1, 12)),
        ({"channels_last": True}, (2, 4, 4, 9), (2, 3, 4, 4), (2, 16, 9)),
        ({"channels_last": False}, (2, 3, 3, 6), (2, 3, 3, 6), (2, 18, 3)),
        ({}, (2, 3, 8, 8), (2, 4, 4, 9), (2, 16, 3)),
    ],
)
def test_adapter_contract(arguments, value, like, result):
    """What an objective takes for granted of every adapter."""
    assert_adapter_contract(Tokens, arguments=arguments, value=value, like=like, result=result)


def test_a_token_is_a_square_of_the_map():
    """Cut in another order, tokens of the student and of the teacher would show other places."""
    value = torch.randn(2, 3, 4, 6)
    tokens = Tokens(patch=2)(value, value)
    for row in range(2):
        for column in range(3):
            square = value[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(tokens[:, 3 * row + column], square.flatten(1))


def test_a_sequence_and_its_map_give_the_same_tokens():
    """A transformer's patches and a map of the same cells must meet place by place."""
    value = torch.randn(2, 3, 4, 4)
    sequence = torch.cat([torch.full((2, 1, 3), 1e6), value.flatten(2).transpose(1, 2)], 1)
    torch.testing.assert_close(Tokens(prefix=1)(sequence, value), Tokens()(value, value))
    small = Tokens(grid=(2, 2))(value, value)
    torch.testing.assert_close(Tokens(prefix=1, grid=(2, 2))(sequence, value), small)
    torch.testing.assert_close(small[:, 1], value[:, :, :2, 2:].mean((2, 3)))


def test_channels_last_is_the_same_map():
    """A stage of Swin is (B, H, W, C); read as a map with channels first its tokens are rows of channels, and train all the same."""
    value = torch.randn(2, 9, 4, 4)
    turned = value.movedim(1, 3)
    torch.testing.assert_close(Tokens(patch=2, channels_last=True)(turned, value), Tokens(patch=2)(value, turned))


def test_the_smaller_grid_is_taken_by_both_sides():
    """Each side sees only the other's shape; both must come to the same grid."""
    student, teacher = torch.randn(2, 3, 8, 4), torch.randn(2, 5, 4, 8)
    assert Tokens()(student, teacher).shape == (2, 16, 3)
    assert Tokens()(teacher, student).shape == (2, 16, 5)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (2, 3), r"got \(2, 3\)"),
        ({"prefix": 5}, (2, 5, 3), "N above 5"),
        ({"patch": 3}, (2, 3, 4, 4), r"do not fill the map \(got 4 x 4"),
        ({"patch": 2}, (2, 6, 3), "no square grid.*TokenPool"),
        ({"grid": (2, 2)}, (2, 17, 3), "set `prefix`"),
        ({}, (2, 7, 7, 768), r"channels last.*got \(2, 7, 7, 768\).*channels_last=True"),
        ({"grid": (7, 7)}, (2, 56, 56, 96), "channels_last=True"),
    ],
)
def test_values_that_make_no_tokens(arguments, shape, message):
    """A class token taken for a patch shifts all places by one."""
    value = torch.randn(shape)
    with pytest.raises(UsageError, match=message):
        Tokens(**arguments)(value, value)


@pytest.mark.parametrize(
    "arguments", [{"patch": 0}, {"prefix": -1}, {"grid": (0, 2)}, {"grid": 4}, {"channels_last": 1}]
)
def test_bad_arguments_of_tokens(arguments):
    """They would fail at the first step, after data and teacher are loaded."""
    with pytest.raises(UsageError, match="Tokens: bad"):
        Tokens(**arguments)
