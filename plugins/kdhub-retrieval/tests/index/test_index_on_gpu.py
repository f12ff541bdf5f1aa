"""GPUs: the limit of their answers, falling back to the CPU, and the same answers where there is one."""

import numpy as np
import pytest

from kdhub.errors import UsageError
from kdret.index import gpu
from kdret.index.dense import FaissIndex

CHANCE = np.random.default_rng(0)
VECTORS = CHANCE.normal(size=(500, 16)).astype(np.float32)
QUERIES = CHANCE.normal(size=(20, 16)).astype(np.float32)
NAMES = [str(row) for row in range(500)]


def build(**options):
    return FaissIndex("dot", **options).build(VECTORS, NAMES)


@pytest.fixture
def small_device(monkeypatch):
    """A device that gives at most 16 answers: a copy of the index on the CPU."""
    import faiss

    monkeypatch.setattr(gpu, "max_k", lambda: 16)
    monkeypatch.setattr(gpu, "reachable", lambda: 1)
    monkeypatch.setattr(
        gpu, "placed", lambda index, _, place: faiss.clone_index(index) if place.device == "gpu" else index
    )
    monkeypatch.setattr(gpu, "parameters", lambda _: faiss.ParameterSpace())
    monkeypatch.setattr(gpu, "knn", lambda _: faiss.knn)


@pytest.mark.parametrize("k", [5, 16, 17, 100, 600])
def test_more_answers_than_a_device_gives_are_split(small_device, k):
    """Beyond 2048 FAISS refuses, and a recall@3000 would end the run after the training."""
    there, here = build(factory="Flat", device="gpu"), build(factory="Flat")
    assert (there.max_k, here.max_k) == (16, None)
    for one, other in zip(there.search(QUERIES, k), here.search(QUERIES, k), strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], rtol=1e-5)


def test_an_approximate_index_refuses_them(small_device):
    """Splitting by pieces would search everything, which is what the index was made to avoid."""
    index = build(factory="IVF8,Flat", device="gpu")
    assert len(index.search(QUERIES, 16)[0]) == 16
    with pytest.raises(UsageError, match=r"expected k up to 16, got 17.*device='cpu'"):
        index.search(QUERIES, 17)


def test_half_precision_is_ranked_again_by_whole_vectors(small_device):
    """Half of the bits give other ties and another order; scores would differ between machines."""
    index = build(factory="Flat", device="gpu", float16=True)
    assert not index.exact
    assert index.recall.value == 1.0
    for one, other in zip(index.search(QUERIES, 4), build(factory="Flat").search(QUERIES, 4), strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], rtol=1e-5)


def test_without_a_gpu_the_cpu_is_taken_and_named(monkeypatch):
    """A config that was written for another machine should run here, and say what it did."""
    lines = []
    monkeypatch.setattr(gpu, "tell", lambda line, warn: lines.append(line))
    monkeypatch.setattr(gpu, "reachable", lambda: 0)
    index = build(factory="Flat", device="gpu", gpus=2, shards=True, float16=True)
    assert index.exact
    assert index.max_k is None
    assert lines == ["index on the CPU: no GPU is in reach of FAISS"]
    assert index.search(QUERIES, 3) == build(factory="Flat").search(QUERIES, 3)


def test_a_graph_stays_on_the_cpu(monkeypatch):
    """FAISS has no HNSW for GPUs; its cloner would end in an error."""
    lines = []
    monkeypatch.setattr(gpu, "tell", lambda line, warn: lines.append(line))
    monkeypatch.setattr(gpu, "reachable", lambda: 1)
    index = object()
    assert gpu.placed(index, "HNSW32", gpu.Placement("gpu")) is index
    assert "graph on the CPU alone" in lines[0]


@pytest.mark.gpu
@pytest.mark.skipif(not gpu.reachable(), reason="no GPU in reach of FAISS")
@pytest.mark.parametrize(
    "options",
    [
        {"factory": "Flat"},
        {"factory": "Flat", "float16": True},
        {"factory": "Flat", "shards": True},
        {"factory": "IVF8,Flat", "effort": 8},
    ],
    ids=str,
)
def test_a_gpu_answers_as_the_cpu(options):
    """Other bits in the sums may part ties, and nothing else."""
    there, here = (
        build(device="gpu", **options),
        build(**{"factory": options["factory"]} | {"effort": options.get("effort")}),
    )
    pairs = zip(there.search(QUERIES, 10), here.search(QUERIES, 10), strict=True)
    shared = [len({key for key, _ in one} & {key for key, _ in other}) for one, other in pairs]
    assert sum(shared) >= 0.999 * 10 * len(QUERIES)
    assert len(there.search(QUERIES, 500)[0]) == 500


@pytest.mark.gpu
@pytest.mark.skipif(not gpu.builds_graphs(gpu.Placement("gpu")), reason="no GPU in reach, or FAISS without cuVS")
def test_a_graph_built_on_a_gpu_is_searched_on_the_cpu(tmp_path):
    """The graph must survive the way to the CPU and to the disk."""
    index = build(factory="CAGRA", device="gpu")
    assert index.recall.value > 0.9
    index.save(tmp_path)
    assert FaissIndex.load(tmp_path).search(QUERIES, 5) == index.search(QUERIES, 5)
