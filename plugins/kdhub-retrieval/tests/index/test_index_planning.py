"""What an index costs and which one is chosen; figures of card faiss_indexing.md, sections 3 and 8."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from kdhub.api import data_size
from kdhub.errors import UsageError
from kdret.index import planning
from kdret.index.planning import Scale, lists_for, plan, size_of, training_rows

MARCO = 8_841_823


@pytest.mark.parametrize(
    ("factory", "rows", "width", "size"),
    [
        ("Flat", MARCO, 768, 27_162_080_256),
        ("IVF16384,Flat", MARCO, 768, 27_283_146_488),
        ("SQfp16", MARCO, 768, 13_581_040_128),
        ("IVF16384,PQ96", MARCO, 768, MARCO * 104 + 256 * 768 * 4 + 4 * 16384 * 768),
        ("PQ96", 10**6, 768, 96 * 10**6 + 256 * 768 * 4),
        ("IVF16384,SQ8", MARCO, 768, MARCO * 776 + 4 * 16384 * 768),
    ],
)
def test_sizes_of_the_card(factory, rows, width, size):
    """A size that is too small lets a build run out of memory after hours."""
    assert size_of(factory, rows, width) == size


@pytest.mark.parametrize(("factory", "per_vector"), [("HNSW16", 207.9), ("HNSW32", 335.4)])
def test_sizes_of_graphs_are_close_to_the_measured(factory, per_vector):
    """The links of a graph are as large as its vectors; FAISS wrote these sizes for D = 16."""
    assert size_of(factory, 10_000, 16) / 10_000 == pytest.approx(per_vector, rel=0.01)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "IVF8,SQ8", "SQfp16", "IVF8,PQ4x4", "PCA8,Flat", "SQ8,RFlat"])
def test_sizes_are_those_that_faiss_writes(factory):
    """The table must hold for factories that the card does not list."""
    vectors = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    index = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    assert size_of(factory, 2000, 16) == pytest.approx(faiss.serialize_index(index).nbytes, rel=0.03)


def test_a_factory_that_is_not_known_has_no_size():
    """A guess would refuse what fits, or promise what does not."""
    assert size_of("IVF8,RaBitQ", 1000, 16) is None
    assert "not known" in plan(1000, 16, "IVF8,RaBitQ", 1.0, "accuracy").line()


@pytest.mark.parametrize(
    ("rows", "lists"),
    [(100_000, 1265), (10**6, 4000), (MARCO, 11_894), (10**8, 40_000), (1000, 25), (10, 1)],
)
def test_number_of_lists(rows, lists):
    """4√N as the card has it; more lists than can be trained well are an error of k-means."""
    assert lists_for(rows) == lists


@pytest.mark.parametrize(
    ("rows", "memory", "prefer", "factory", "why"),
    [
        (10_000, 1.0, "accuracy", "Flat", "exact search is affordable"),
        (10**6, 4.0, "accuracy", "Flat", "exact"),
        (10**6, 2.5, "accuracy", "IVF4000,SQ8", "full precision does not fit"),
        (10**6, 1.0, "accuracy", "IVF4000,PQ96", "8 bits a number do not fit"),
        (MARCO, 64.0, "accuracy", "IVF11894,Flat", "more than 2000000 vectors"),
        (MARCO, 10.0, "accuracy", "IVF11894,SQ8", "full precision does not fit"),
        (10**6, 8.0, "speed", "HNSW32", "speed is preferred"),
        (10_000, 8.0, "speed", "Flat", "exact"),
        (10**6, 2.5, "speed", "IVF4000,SQ8", "full precision does not fit"),
    ],
)
def test_the_choice_follows_size_and_memory(rows, memory, prefer, factory, why):
    """An index that was chosen for no stated reason is one that nobody can object to."""
    found = plan(rows, 768, "auto", memory, prefer)
    assert found.factory == factory
    assert why in found.line()


def test_what_cannot_fit_is_refused_with_figures(monkeypatch):
    """A build that is killed for memory after an hour says nothing."""
    with pytest.raises(UsageError, match=r"Flat does not fit into memory \(expected at most 1.00 GiB, got 25.30 GiB"):
        plan(MARCO, 768, "Flat", 1.0, "accuracy")
    with pytest.raises(UsageError, match=r"IVF11894,PQ96 does not fit .* -> take factory='auto'"):
        plan(MARCO, 768, "auto", 0.5, "accuracy")
    monkeypatch.setattr(planning, "available_memory", lambda: 10**9)
    with pytest.raises(UsageError, match="at most 763 MiB"):
        plan(MARCO, 768, "Flat", None, "accuracy")
    monkeypatch.setattr(planning, "available_memory", lambda: None)
    assert plan(MARCO, 768, "Flat", None, "accuracy").budget is None


def test_a_graph_of_a_gpu_is_taken_where_there_is_one():
    """CAGRA exists only in builds with cuVS; elsewhere its name would be a riddle of FAISS."""
    assert plan(10**6, 768, "auto", 8.0, "speed", cagra=True).factory == "CAGRA"


def test_training_sample():
    """Codebooks from fewer vectors than FAISS asks for are noise, and all vectors of a large corpus do not fit."""
    assert training_rows("IVF16384,Flat", MARCO) == 64 * 16384
    assert training_rows("IVF16,PQ8", 10**6) == 16384
    assert training_rows("Flat", 10**6) == 0
    assert training_rows("IVF16,SQ8", 500) == 500


def test_free_memory_of_this_machine():
    """Without a figure nothing would ever be refused."""
    assert planning.available_memory() is None or planning.available_memory() > 2**20


def test_the_page_on_scale_says_what_the_formulas_give():
    """A page of numbers that nobody recomputes sends people to buy the wrong machines."""
    page = (Path(__file__).resolve().parents[4] / "docs/explanation/passages-at-scale.md").read_text(encoding="utf-8")
    rows = {
        cells[1]: cells[3:5] for line in page.splitlines() if len(cells := [c.strip() for c in line.split("|")]) == 6
    }
    sq, pq = (
        [Scale(10**8, 384, factory, workers=8), Scale(10**10, 384, factory, workers=64)]
        for factory in ("IVF4000,SQ8", "IVF4000,PQ96")
    )
    # by hand: 100 shards of a million 384 + 8 bytes and 4000 centroids
    assert sq[0].index_bytes == 100 * (1_000_000 * 392 + 4 * 4000 * 384)
    assert pq[0].index_bytes == 100 * (1_000_000 * 104 + 4 * 4000 * 384 + 256 * 384 * 4)
    assert (sq[1].text_bytes, sq[1].vector_bytes) == (3_500_000_000_000, 15_360_000_000_000)
    assert sq[0].hours == pytest.approx(100_000_000 / 16_000 / 3600)
    for name, found in {
        "texts on the disk": [data_size(one.text_bytes) for one in sq],
        "places of lines, in each worker's memory": [data_size(one.place_bytes) for one in sq],
        "vectors in float32": [data_size(one.vector_bytes) for one in sq],
        "ids, in the memory of whoever searches": [data_size(one.id_bytes) for one in sq],
        "index `IVF4000,SQ8`": [data_size(one.index_bytes) for one in sq],
        "index `IVF4000,PQ96`": [data_size(one.index_bytes) for one in pq],
        "shards": [f"{one.shards:,}" for one in sq],
        "workers that encode": [str(one.workers) for one in sq],
        "hours of encoding": [f"{one.hours:.1f}" for one in sq],
        "machines that search, `IVF4000,SQ8`": [str(one.machines) for one in sq],
        "machines that search, `IVF4000,PQ96`": [str(one.machines) for one in pq],
    }.items():
        assert rows[name] == found, name
