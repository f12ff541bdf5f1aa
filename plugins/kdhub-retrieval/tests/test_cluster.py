"""Shares on Ray: the same results as in one process, and what a worker that dies costs."""

import json
import os
import time

import numpy as np
import pytest

from kdhub.cli.main import main
from kdhub.errors import UsageError
from kdret import cluster, shares
from kdret.cluster import build_shards
from kdret.data.corpus import Corpus
from kdret.index import load_index
from kdret.index.dense import FaissIndex
from kdret.index.sharded import ShardedIndex
from kdret.mining_job import mine
from kdret.shares import each


def test_shards_answer_as_one_index(tmp_path):
    """A place in a shard taken for one in the corpus, or ties of two shards in the wrong order, name another document."""
    vectors = np.random.default_rng(0).integers(-2, 3, (50, 4)).astype(np.float32)
    names = [f"d{row}" for row in range(50)]
    whole = FaissIndex("dot", factory="Flat").build(vectors, names)
    index = ShardedIndex("dot", {"type": "kdret.FaissIndex", "factory": "Flat"}, rows=20).build(vectors, names)
    for k in (1, 7, 50, 99):
        assert index.search(vectors[:9], k) == whole.search(vectors[:9], k)
    index.save(tmp_path)
    assert load_index(tmp_path, mmap=True).search(vectors[:9], 7) == whole.search(vectors[:9], 7)
    assert index.facts() | {"kind": "x"} == load_index(tmp_path).facts() | {"kind": "x"}


def test_an_index_in_shards_replaces_a_former_one(tmp_path):
    """Shards of another corpus stayed, and the checksums of the new index were those of the old shards."""
    chance = np.random.default_rng(0)
    for rows, seed in ((50, 1), (30, 2)):
        vectors = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
        index = ShardedIndex("dot", {"type": "kdret.FaissIndex", "factory": "Flat"}, rows=20)
        index.build(vectors, [f"d{row}" for row in range(rows)]).save(tmp_path)
    queries = chance.normal(size=(5, 4)).astype(np.float32)
    assert load_index(tmp_path).search(queries, 7) == index.search(queries, 7)
    assert len(list(tmp_path.glob("shard-*"))) == 2
    read = ShardedIndex.load(tmp_path, mmap=True)
    read.save(tmp_path)  # what is read from there stays there
    assert load_index(tmp_path).search(queries, 7) == index.search(queries, 7)


def test_workers_get_the_gpus_there_are():
    """Ray hides every GPU from workers that ask for none, and eight of them encoded a corpus on CPUs."""
    assert [shares.gpus_of_worker(gpus, workers) for gpus, workers in ((0, 3), (8, 8), (8, 2), (1, 4), (4, 6))] == [
        0.0,
        1.0,
        1.0,
        0.25,
        0.5,
    ]


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_commands_without_ray_and_what_is_kept(tiny_encoder, tiny_data, tmp_path, monkeypatch, capsys):
    """A second call must not encode again what stands, and must encode what does not."""
    output = tmp_path / "index"
    words = ["index", "build", str(tiny_data), "--model", tiny_encoder, "--output", str(output)]
    words += ["--workers", "0", "--shard-rows", "5"]
    assert main(words) == 0
    assert "sharded" in capsys.readouterr().out
    before = content(output)
    stopped = output.rename(tmp_path / ".index.shards")  # where they are until all of them stand
    (stopped / "shard-00001/index.json").unlink()
    built = []
    make = cluster._Shard.__call__
    monkeypatch.setattr(cluster._Shard, "__call__", lambda self, number: built.append(number) or make(self, number))
    assert main(words) == 0
    assert built == [1]
    assert content(output) == before
    assert not stopped.exists()
    assert main(words) == 0
    assert "there already" in capsys.readouterr().err
    assert built == [1]
    assert main(["index", "info", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == sum(map(len, content(output).values()))
    assert main(["index", "search", str(output), "read write open", "--top", "1"]) == 0
    assert "d0" in capsys.readouterr().out


def test_a_shard_reads_its_own_lines(tiny_encoder, tiny_data, tmp_path, monkeypatch):
    """Each shard read the corpus from its first line on: a thousand shards of MS MARCO's size read it five hundred times."""
    corpus = tiny_data / "corpus.jsonl"
    lines = corpus.read_text().splitlines(keepends=True)
    corpus.write_text("".join([*lines[:3], '{"_id": "empty", "text": ""}\n', *lines[3:]]))
    about = {"data": str(tiny_data), "model_name": tiny_encoder, "shard_rows": 5}
    about["shard_index"] = {"type": "kdret.FaissIndex", "factory": "Flat"}
    work = cluster._Shard(tmp_path, about, batch_size=8)
    parsed = []
    read = Corpus._parsed
    monkeypatch.setattr(Corpus, "_parsed", lambda self, number, line: parsed.append(number) or read(self, number, line))
    for number in (1, 0, 2):
        work(number)
    # the fourth line has no text
    assert parsed == [6, 7, 8, 9, 10, 0, 1, 2, 4, 5, 11, 12]
    assert load_index(tmp_path / "shard-00000").ids == ("d0", "d1", "d2", "d3", "d4")
    assert load_index(tmp_path / "shard-00001").ids == ("d5", "d6", "d7", "d8", "d9")


@pytest.mark.parametrize("more", [[], ["--index", "kdret.MaxSimIndex"]])
def test_tokens_are_refused_before_they_are_encoded(more, tiny_multi, tiny_data, tmp_path, monkeypatch, capsys):
    """With --index the corpus was encoded and indexed for hours, and then every search failed."""
    monkeypatch.setattr(cluster.TextVectors, "documents", lambda *_: pytest.fail("encoded"))
    words = ["index", "build", str(tiny_data), "--model", tiny_multi, "--output", str(tmp_path / "index")]
    assert main([*words, "--workers", "0", *more]) == 2
    assert "vectors of tokens are not indexed in shards" in capsys.readouterr().err
    with pytest.raises(UsageError, match="ShardedIndex: vectors of tokens are not indexed in shards"):
        ShardedIndex(index={"type": "kdret.MaxSimIndex"}).build([np.eye(2, dtype=np.float32)], ["a"])


def test_a_mistake_in_a_worker_comes_back_as_one_line(tmp_path):
    """Ray wraps what a worker raises into pages of its own."""
    work = shares._Worker(cluster._Shard, {"folder": tmp_path, "about": {"data": "nowhere"}, "batch_size": 1})
    assert work({"item": 0})["error"].startswith("no data folder 'nowhere'")

    class Doubles:
        def __call__(self, item):
            return {"twice": 2 * item}

    assert shares._Worker(Doubles, {})({"item": 4}) == {"found": '{"twice": 8}', "error": ""}
    assert [row["twice"] for row in each(Doubles, [1, 2], 0)] == [2, 4]
    with pytest.raises(UsageError, match="workers"):
        list(each(Doubles, [1], -1))


@pytest.fixture(scope="module")
def local_ray():
    """A cluster of this machine. Ray gives itself 30 seconds to start, which a busy machine does not always keep."""
    ray = pytest.importorskip("ray", reason="pip install 'kdhub-retrieval[ray]'")
    psutil = pytest.importorskip("psutil")
    before = set(psutil.Process().children(recursive=True))
    try:
        shares._started(2)
    except UsageError as error:
        for process in set(psutil.Process().children(recursive=True)) - before:
            process.kill()  # what Ray leaves of a failed start
        pytest.skip(str(error))
    yield
    ray.shutdown()


ray_warns = (
    # Ray's own use of what it has deprecated, and sockets of the processes that it ends
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(600),
)


def with_ray(test):
    """Mark a test that runs on a cluster of this machine."""
    for mark in ray_warns:
        test = mark(test)
    return test


@with_ray
def test_a_dead_worker_costs_the_share_it_was_at(local_ray, tmp_path):
    """A machine that is taken away in the tenth hour must not cost nine."""
    calls = tmp_path / "calls"
    calls.mkdir()

    class Mortal:
        def __call__(self, item):
            (calls / f"{item}-{os.getpid()}").touch()
            time.sleep(0.1)
            if item == 2 and len(list(calls.glob("2-*"))) == 1:
                os._exit(1)
            if item == 99:
                raise UsageError("no such share")
            return {"twice": 2 * item}

    found = sorted(row["twice"] for row in each(Mortal, range(6), 2))
    assert found == [0, 2, 4, 6, 8, 10]
    assert {item: len(list(calls.glob(f"{item}-*"))) for item in range(6)} == {
        item: 1 + (item == 2) for item in range(6)
    }
    with pytest.raises(UsageError, match="no such share"):
        list(each(Mortal, [99], 1))


@with_ray
def test_two_workers_give_what_one_process_gives(local_ray, tiny_encoder, tiny_data, tmp_path):
    """Results that depend on how many workers there are cannot be repeated."""
    for workers in (0, 2):
        folder = tmp_path / f"index{workers}"
        build_shards(folder, tiny_encoder, str(tiny_data), 5, workers, {"type": "kdret.FaissIndex"})
    assert content(tmp_path / "index0") == content(tmp_path / "index2")


@with_ray
def test_two_workers_mine_what_one_process_mines(local_ray, tiny_encoder, tiny_data, tmp_path, monkeypatch):
    """The mined lists are what a student learns from: they must not depend on who was busy."""
    monkeypatch.setattr("kdret.kept_vectors._CHUNK", 5)
    for module in ("mine", "mining_shares"):
        monkeypatch.setattr(f"kdret.{module}.AT_ONCE", 3)
    for name, workers in (("one", None), ("two", 2)):
        (tmp_path / name).mkdir()
        mine(tmp_path / name, str(tiny_data), tiny_encoder, depth=4, workers=workers)
    assert content(tmp_path / "one") == content(tmp_path / "two")
