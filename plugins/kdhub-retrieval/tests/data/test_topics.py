"""Topic-aware sampling: clusters of queries, batches of one cluster, pairs balanced by margin."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler

from kdhub.errors import UsageError
from kdret.data import topics
from kdret.data.paths import find_beside
from kdret.data.scored_lists import ScoredLists, balanced_pair
from kdret.data.topics import TopicBatches, cluster


@pytest.fixture
def lists(tiny_data, tiny_candidates, tiny_topics):
    """One pair for each of 8 queries, which stand in clusters of 3 and 5."""
    return ScoredLists(str(tiny_data), "candidates.jsonl", candidates=2, draw="balanced")


def batches(lists, size=2, seed=0, epoch=0, clusters="clusters.tsv"):
    sampler = TopicBatches(InfiniteSampler(lists, seed=seed), size, clusters)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_a_batch_is_of_one_topic(lists):
    """In-batch margins between topics say little: random documents are told apart by any student."""
    found = [batch for epoch in range(100) for batch in batches(lists, epoch=epoch)]
    assert len(found) == 400  # 8 queries in batches of 2, a hundred times
    assert all(len({index < 3 for index in batch}) == 1 and len(set(batch)) == 2 for batch in found)
    counts = Counter(index for batch in found for index in batch)
    # 800 draws of 8 samples; 100 expected, standard deviation below 13
    assert all(50 < counts[index] < 150 for index in range(8))


def test_batches_depend_on_seed_and_pass_alone(lists):
    """A resumed run must go on with the batches that it would have had."""
    torch.manual_seed(1)
    first = batches(lists, epoch=3)
    torch.manual_seed(2)
    assert batches(lists, epoch=3) == first
    assert batches(lists, epoch=4) != first
    assert batches(lists, epoch=3, seed=1) != first


def test_a_resumed_run_draws_with_the_seed_of_the_run(lists):
    """A seed that is copied before a resume restores it gives other batches, and nobody notices."""
    sampler = TopicBatches(InfiniteSampler(lists, seed=5), 2, "clusters.tsv")
    sampler.sampler.seed = 1  # as a resume does
    assert list(sampler) == batches(lists, seed=1)


def test_a_batch_larger_than_its_topic(lists):
    """A topic of 3 queries fills a batch of 7 with each at least twice, rather than with another topic."""
    for batch in batches(lists, size=7):
        counts = Counter(batch).values()
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("q0 q1 q2 q3 q4 q5 q6\n", "query 'q7' stands in no cluster"),
        ("q0 q1 q2 q3 q4 q5 q6 q7\nq3\n", r"clusters.tsv:2: query 'q3' stands in two clusters"),
    ],
)
def test_clusters_of_other_queries(lists, tiny_data, text, told):
    """Queries left out of every cluster would never be trained on, and nobody would be told."""
    (tiny_data / "clusters.tsv").write_text(text)
    with pytest.raises(UsageError, match=told):
        batches(lists)
    with pytest.raises(UsageError, match="no file of clusters"):
        batches(lists, clusters="other.tsv")


def test_a_data_set_without_queries():
    """A batch of indices without a topic is a batch of anything."""
    with pytest.raises(UsageError, match="does not say which query a sample is of"):
        TopicBatches(InfiniteSampler([1, 2, 3]), 2, "clusters.tsv")


def test_clusters_are_found(tiny_data, tiny_encoder, capsys):
    """The command's file must be what the sampler reads, with each query in it once."""
    vectors = np.concatenate([np.zeros((3, 2)), np.ones((2, 2)), np.full((1, 2), 5.0)])
    assert sorted(cluster(vectors, 3)) == [[0, 1, 2], [3, 4], [5]]
    assert topics.main([str(tiny_data), "--model", tiny_encoder, "--clusters", "2"]) == 0
    assert "8 queries in 2 clusters" in capsys.readouterr().out
    lines = (tiny_data / "clusters.tsv").read_text().splitlines()
    assert sorted(" ".join(lines).split()) == [f"q{i}" for i in range(8)]
    assert topics.main([str(tiny_data), "--model", tiny_encoder, "--clusters", "9"]) == 2
    assert "more clusters than queries" in capsys.readouterr().err


def test_pairs_are_balanced_by_margin():
    """Of 99 easy pairs and one hard one, uniform draws would show the hard one once in a hundred times."""
    torch.manual_seed(0)
    relevant, others = np.array([10.0]), np.array([*[0.0] * 99, 9.0])
    drawn = Counter(int(balanced_pair(relevant, others)[1][0]) == 99 for _ in range(400))
    assert 140 < drawn[True] < 260  # two bins of ten are filled: half of the draws, standard deviation 10
    assert balanced_pair(np.array([1.0]), np.array([0.5, 0.5]))[0] == 0  # one margin for all is one bin
    # card retrieval_losses.md, item 6: margins 0, 1, 2.5, 4, 9, 10 fall in bins 0, 1, 2, 4, 9, 9, so two of six share one draw in five
    counts = Counter(
        int(balanced_pair(np.array([10.0]), 10 - np.array([0, 1, 2.5, 4, 9, 10]))[1][0]) for _ in range(2000)
    )
    assert all(320 < counts[place] < 480 for place in range(4))
    assert 320 < counts[4] + counts[5] < 480


def test_balanced_lists_are_pairs(tiny_data, tiny_candidates):
    """A list of 4 has no one margin."""
    with pytest.raises(UsageError, match="draws pairs"):
        ScoredLists(str(tiny_data), "candidates.jsonl", candidates=4, draw="balanced")


def test_a_file_beside_the_data_is_found_in_one_order(tmp_path, monkeypatch):
    """Clusters, pairs and lists of scores took one of two files of the same name, each by a rule of its own."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_beside(root, "scores.tsv") is None
    (root / "scores.tsv").write_text("1\n")
    assert find_beside(root, "scores.tsv") == root / "scores.tsv"
    Path("scores.tsv").write_text("1\n")
    assert find_beside(root, "scores.tsv") == Path("scores.tsv")
    Path("scores.tsv").write_text("2\n")
    with pytest.raises(UsageError, match="two files for the same data, and they differ"):
        find_beside(root, "scores.tsv")
