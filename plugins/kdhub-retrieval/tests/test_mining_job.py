"""The job `kdret.Mine` and `kdhub mine`: every kind of teacher, and what a stop leaves to do."""

import gzip
import json

import numpy as np
import pytest
import sentence_transformers
from torch import nn

from kdhub.api import load_config
from kdhub.cli.main import main
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdret import kept_vectors, mine as mining
from kdret.data.beir import load_split
from kdret.kept_lines import KeptLines
from kdret.mining_job import mine
from kdret.text_vectors import TextVectors


def lists_of(folder):
    return [json.loads(line) for line in gzip.open(folder / "lists.jsonl.gz", "rt", encoding="utf-8")]


def test_a_late_interaction_teacher_scores_by_maxsim(tiny_multi, tiny_data, tmp_path):
    """Means of tokens, or products of the wrong ones, would be plausible scores too."""
    assert mine(tmp_path, str(tiny_data), tiny_multi, depth=4) == {"lists": 8}
    data = load_split(tiny_data, "train")
    model = sentence_transformers.MultiVectorEncoder(tiny_multi, device="cpu")
    documents = model.encode_document([one.content for one in data.corpus.values()])
    for row in lists_of(tmp_path):
        scores = model.similarity(model.encode_query([data.queries[row["query_id"]]]), documents)[0].tolist()
        of = dict(zip(data.corpus, scores, strict=True))
        assert row["scores"] == pytest.approx([of[key] for key in row["doc_ids"]], rel=1e-4)
        others = sorted((of[key] for key in of if key != row["doc_ids"][0]), reverse=True)
        assert row["scores"][1:] == pytest.approx(others[:4], rel=1e-4)


def test_a_cross_encoder_denoises_what_another_model_found(tiny_cross, tiny_encoder, tiny_data, tmp_path):
    """Its scores choose and label; a negative that it scores above the relevant document teaches the opposite."""
    (tmp_path / "all").mkdir()
    mine(tmp_path / "all", str(tiny_data), tiny_cross, depth=11, finder=tiny_encoder)
    scores = {
        row["query_id"]: dict(zip(row["doc_ids"], row["scores"], strict=True)) for row in lists_of(tmp_path / "all")
    }
    model = sentence_transformers.CrossEncoder(tiny_cross, device="cpu")
    data = load_split(tiny_data, "train")
    pairs = [(data.queries["q0"], data.corpus[key].content) for key in scores["q0"]]
    expected = model.predict(pairs, activation_fn=nn.Identity())
    assert list(scores["q0"].values()) == pytest.approx(expected.tolist(), rel=1e-4)
    mine(tmp_path, str(tiny_data), tiny_cross, depth=3, finder=tiny_encoder, margin=0.0)
    for row in lists_of(tmp_path):
        assert all(score <= row["scores"][0] for score in row["scores"][1:])
        assert row["scores"] == pytest.approx([scores[row["query_id"]][key] for key in row["doc_ids"]], rel=1e-4)


def test_a_deeper_search_scores_no_pair_twice(tiny_cross, tiny_encoder, tiny_data, tmp_path, monkeypatch):
    """A cross-encoder takes longer over a pair than the search over all documents; four in ten pairs were read again."""
    monkeypatch.setattr(mining, "_OVER", 0)
    predict, pairs = sentence_transformers.CrossEncoder.predict, []
    monkeypatch.setattr(
        sentence_transformers.CrossEncoder,
        "predict",
        lambda self, some, **options: pairs.extend(some) or predict(self, some, **options),
    )
    mine(tmp_path, str(tiny_data), tiny_cross, depth=2, finder=tiny_encoder, max_score=-9.0)
    assert len(pairs) == len(set(pairs)) == 8 * 12  # no score is so low, so the search goes to the end


@pytest.mark.parametrize("kind", ["tiny_encoder", "tiny_sparse", "tiny_multi"])
def test_shares_mine_what_one_process_mines(kind, request, tiny_data, tmp_path, monkeypatch):
    """Lists that depend on how many workers there were cannot be mined again; what a share did is not done twice."""
    from kdret import mining_shares

    monkeypatch.setattr(kept_vectors, "_CHUNK", 5)
    for module in (mining, mining_shares):
        monkeypatch.setattr(module, "AT_ONCE", 3)
    teacher = request.getfixturevalue(kind)
    for name in ("one", "shares"):
        (tmp_path / name).mkdir()
    options = {"depth": 3, "ranks": (1, 9), "draw": "random", "seed": 2}
    mine(tmp_path / "one", str(tiny_data), teacher, **options)
    done = []
    for worker in (mining_shares._Encoding, mining_shares._Mining):

        def stopped(self, number, call=worker.__call__, name=worker.__name__):
            done.append((name, number))
            if len(done) in (2, 6):
                raise KeyboardInterrupt
            return call(self, number)

        monkeypatch.setattr(worker, "__call__", stopped)
    for mined in (0, 3):
        with pytest.raises(UsageError, match=f"stopped; {mined} of 8"):
            mine(tmp_path / "shares", str(tiny_data), teacher, **options, workers=0, again="kdhub mine ...")
    mine(tmp_path / "shares", str(tiny_data), teacher, **options, workers=0)
    assert done == [("_Encoding", number) for number in (0, 1, 1, 2)] + [("_Mining", number) for number in (0, 1, 1, 2)]
    assert {path.name for path in (tmp_path / "shares").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "shares" / path.name).read_bytes()


def test_shares_of_a_cross_encoder_with_a_saved_index(tiny_cross, tiny_encoder, tiny_data, tmp_path):
    """The index of a large corpus is on the disk already, and each worker reads it there."""
    place = str(tmp_path / "index")
    assert main(["index", "build", str(tiny_data), "--model", tiny_encoder, "--output", place]) == 0
    words = [
        "mine",
        str(tiny_data),
        "--teacher",
        tiny_cross,
        "--finder",
        tiny_encoder,
        "--index",
        place,
        "--depth",
        "4",
    ]
    assert main([*words, "--output", str(tmp_path / "one.jsonl")]) == 0
    assert main([*words, "--output", str(tmp_path / "two.jsonl"), "--workers", "0"]) == 0
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_a_cross_encoder_finds_nothing_by_itself(tiny_cross, tiny_data, tmp_path, capsys):
    """It has no vectors; the mean of its tokens, which the library would take, was never trained to search."""
    assert main(["mine", str(tiny_data), "--teacher", tiny_cross, "--output", str(tmp_path / "x.jsonl")]) == 2
    assert "a cross-encoder has no vectors to search by" in (err := capsys.readouterr().err)
    assert err.rstrip().endswith("-> add --finder MODEL, such as the student")


def test_a_constant_cross_encoder_is_named(tiny_cross, tiny_encoder, tiny_data, tmp_path, monkeypatch):
    """Equal scores for all would be written, and taken for knowledge."""
    monkeypatch.setattr(
        sentence_transformers.CrossEncoder, "predict", lambda self, pairs, **_: np.ones(len(pairs), np.float32)
    )
    with pytest.raises(UsageError, match="gives every document the same score"):
        mine(tmp_path, str(tiny_data), tiny_cross, finder=tiny_encoder)
    assert not (tmp_path / "lists.jsonl.gz").exists()


@pytest.mark.parametrize("stop", ["encoding", "mining"])
def test_a_job_that_was_stopped_goes_on_and_ends_the_same(stop, tiny_encoder, tiny_data, tmp_path, monkeypatch, capsys):
    """Encoding and scoring take hours; what was done before a stop must neither be lost nor differ."""
    monkeypatch.setattr(kept_vectors, "_CHUNK", 5)
    monkeypatch.setattr(mining, "AT_ONCE", 3)
    (tmp_path / "whole").mkdir()
    options = {"depth": 3, "ranks": (1, 9), "draw": "random", "seed": 2}
    mine(tmp_path / "whole", str(tiny_data), tiny_encoder, **options)
    method = "documents" if stop == "encoding" else "queries"
    original, calls = getattr(TextVectors, method), []

    def interrupted(self, texts, **given):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, texts, **given)

    monkeypatch.setattr(TextVectors, method, interrupted)
    with pytest.raises(UsageError) as caught:
        mine(tmp_path, str(tiny_data), tiny_encoder, **options, again="kdhub mine ...")
    done = 0 if stop == "encoding" else 3
    assert f"stopped; {done} of 8 queries are mined and kept -> to go on: kdhub mine ..." in str(caught.value)
    mine(tmp_path, str(tiny_data), tiny_encoder, **options)
    assert calls == ([5, 5, 5, 2] if stop == "encoding" else [3, 3, 3, 2])  # the second of them was cut short
    for name in ("lists.jsonl.gz", "lists.jsonl.gz.mined.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"whole", "tiny", "lists.jsonl.gz", "lists.jsonl.gz.mined.json"}


def test_lines_of_other_options_or_cut_off_are_not_used(tmp_path):
    """Half a line, or one that was drawn with another seed, would stand among the others."""
    path = tmp_path / "lines"
    KeptLines(path, "id", {"seed": 1}).add([{"id": "a", "score": 0.1}, {"id": "b", "score": 0.2}])
    path.write_bytes(path.read_bytes()[:-3])
    again = KeptLines(path, "id", {"seed": 1})
    assert again.found == {"a": {"id": "a", "score": 0.1}}
    again.add([{"id": "b", "score": 0.3}])
    assert KeptLines(path, "id", {"seed": 1}).found["b"] == {"id": "b", "score": 0.3}
    assert KeptLines(path, "id", {"seed": 2}).found == {}
    assert KeptLines(path, "id", {"seed": 1}).found == {}


def test_a_recipe_mines_once(tiny_mined, tiny_cross, tiny_encoder, tmp_path, monkeypatch):
    """A second run of the recipe must find the lists, and not spend the hours again."""
    from kdret import mining_job

    calls = []
    original = mining_job.mine_lists
    monkeypatch.setattr(
        mining_job, "mine_lists", lambda *args, **options: calls.append(1) or original(*args, **options)
    )
    models = {"model.student.model": tiny_encoder, "model.teacher.model.model": tiny_cross}
    short = {"train_cfg.max_iters": 1, "train_cfg.val_interval": 1, "work_dir": str(tmp_path / "work")}
    options = tiny_mined | models | short
    train(load_config("kdret:cross-to-dense", options))
    train(load_config("kdret:cross-to-dense", options | {"train_cfg.max_iters": 2}), resume=True)
    assert calls == [1]
