"""Neighbours and draws: exact, without the token itself, the same in chunks, and the same again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kdhub.testing import assert_schedule_contract
from kdtrg.graph import Graph, neighbourhood
from kdtrg.losses.local_graph import LocalGraph
from kdtrg.sampling import drawn
from kdtrg.schedule import StepNumber

few = settings(deadline=None, max_examples=50)
seeds = st.integers(0, 10_000)


def nearest(tokens, k, chunk=None):
    return neighbourhood(tokens, k, chunk)[0]


def integers(seed, count, width=3, spread=3):
    """Tokens of small whole numbers: products are exact, and many distances tie."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, spread, (count, width), generator=generator).float()


@few
@given(seeds, st.integers(2, 40), st.integers(1, 12), st.integers(1, 45))
def test_neighbours_are_the_nearest_and_ties_go_to_the_lower_index(seed, count, k, chunk):
    """Ties broken by chance would give another graph, and another loss, after a restart."""
    tokens = integers(seed, count)
    # the mean is subtracted: with a multiple of 64 as their sum nothing is rounded
    tokens = torch.cat([tokens, -tokens])
    squared = ((tokens[:, None] - tokens[None]) ** 2).sum(-1).numpy() + np.diag(np.full(2 * count, np.inf))
    expected = np.argsort(squared, axis=1, kind="stable")[:, : min(k, 2 * count - 1)]
    np.testing.assert_array_equal(nearest(tokens, k).numpy(), expected)
    np.testing.assert_array_equal(nearest(tokens, k, chunk).numpy(), expected)


@few
@given(seeds, st.integers(1, 30), st.integers(1, 35))
def test_each_column_has_k_entries_and_none_on_the_diagonal(seed, count, k):
    """A token that is its own nearest neighbour uses up an edge and teaches nothing."""
    tokens = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    found = nearest(tokens, k)
    assert found.shape == (count, min(k, count - 1))
    assert all(len(set(row)) == len(row) and index not in row for index, row in enumerate(found.tolist()))


@few
@given(seeds, st.integers(2, 30))
def test_edges_and_rows_are_those_of_the_matrix(seed, count):
    """With rows and columns exchanged each sum is a plausible number."""
    tokens = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ours, theirs = (Graph.over(tokens, nearest(some, 3), 1.0) for some in (tokens, tokens.roll(1, 0)))

    def matrix(graph):
        full = torch.zeros(count, count, dtype=torch.float64)
        columns = torch.arange(count).unsqueeze(1).expand_as(graph.neighbours)
        full[graph.neighbours, columns] = graph.weights
        return full

    torch.testing.assert_close(ours.sum_by_row(ours.weights), matrix(ours).sum(1))
    assert (matrix(ours).diagonal() == 0).all()
    assert ((matrix(ours) != 0).sum(0) == min(3, count - 1)).all()
    columns = torch.arange(count).unsqueeze(1).expand_as(theirs.neighbours)
    torch.testing.assert_close(ours.weights_at(theirs), matrix(ours)[theirs.neighbours, columns])


@pytest.mark.parametrize("chunk", [None, 100])
def test_ties_across_blocks_go_to_the_lower_index(chunk):
    """Products are made in blocks and transposed; a block in the wrong place, or a tie cut at k, would be another graph."""
    half = torch.randint(-2, 3, (300, 3), generator=torch.Generator().manual_seed(0)).float()
    tokens = torch.cat([half, -half])  # of mean 0, so that all numbers are whole and ties are exact
    squared = (tokens.unsqueeze(1) - tokens).square().sum(2).fill_diagonal_(torch.inf)
    expected = squared.sort(dim=1, stable=True).indices[:, :7]
    assert torch.equal(nearest(tokens, 7, chunk), expected)


def test_far_from_the_origin_neighbours_are_found():
    """Distances out of products of large numbers lose all digits: at an offset of 1e4, float32 has none left for 0.01."""
    tokens = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    far = tokens + 1e4
    squared = ((far[:, None].double() - far[None].double()) ** 2).sum(-1).fill_diagonal_(torch.inf)
    np.testing.assert_array_equal(nearest(far, 1), squared.argmin(1, keepdim=True))


def test_chunks_hold_no_square_matrix(monkeypatch):
    """Memory linear in n is what the argument is for; a graph of 50,000 tokens would want 10 GB otherwise."""
    sizes = []
    plain = torch.addmm

    def watched(*args, **kwargs):
        sizes.append(plain(*args, **kwargs).shape)
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch, "addmm", watched)
    nearest(torch.randn(100, 4), 3, chunk=16)
    assert max(rows for rows, _ in sizes) == 16


@few
@given(seeds, st.integers(0, 50), st.integers(1, 6), st.integers(1, 12), st.data())
def test_draws_are_distinct_and_depend_on_the_place_alone(seed, step, images, of, data):
    """Drawn by a generator that somebody else uses too, a resumed run, or one with two processes, would see other tokens."""
    count = data.draw(st.integers(1, of))
    whole = drawn(2 * images, of, count, (seed, step))
    assert all(sorted(set(row)) == row and row[0] >= 0 and row[-1] < of for row in whole.tolist())
    torch.testing.assert_close(drawn(images, of, count, (seed, step)), whole[:images])
    torch.testing.assert_close(drawn(images, of, count, (seed, step), images), whole[images:])


def test_draws_are_new_in_each_step_and_reach_all_tokens():
    """Tokens that are never drawn are never compared."""
    draws = torch.stack([drawn(4, 16, 4, (0, step)) for step in range(200)])
    assert len({tuple(one.flatten().tolist()) for one in draws}) == 200
    counts = draws.flatten().bincount(minlength=16)
    # 3200 draws of 16 places: 200 each, with a standard deviation below 14
    assert (counts - 200).abs().max() < 70


def test_both_networks_are_read_at_the_same_places():
    """Other places in the student would teach it the teacher's graph of other things."""
    places = torch.arange(12.0).view(2, 6, 1)
    student, teacher = LocalGraph(tokens=3, draw=5).graph_tokens(places, places.expand(2, 6, 4))
    torch.testing.assert_close(student.expand(6, 4), teacher)
    again = LocalGraph(tokens=3, draw=6).graph_tokens(places, places)[0]
    assert not torch.equal(again, student)
    everything = LocalGraph(tokens=7, draw=5).graph_tokens(places, places)[0]
    torch.testing.assert_close(everything, places.view(12, 1))


def test_the_number_of_the_step():
    """The schedule that hands the step to a loss keeps the schedules' contract."""
    assert_schedule_contract(StepNumber)
    assert [StepNumber()(step) for step in (0, 7)] == [0.0, 7.0]
