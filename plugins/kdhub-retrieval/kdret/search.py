"""Search the corpus of a run with the student it trained."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentence_transformers import SentenceTransformer

from kdhub.engine.console import say
from kdhub.errors import UsageError
from kdhub.files import atomic_folder
from kdret.data.beir import Document, load_corpus
from kdret.index import FlatIndex
from kdret.loading import load_sentence_transformer

_STATE = "state.json"
_SHOWN = 120
"""Characters of a document in a hit."""


class Hit(NamedTuple):
    """One answer.

    Attributes:
        rank: From 1.
        score: Similarity to the query.
        id: Document id.
        text: Beginning of title and text, in one line.
    """

    rank: int
    score: float
    id: str
    text: str


def search(work_dir: str | Path, query: str, *, top: int = 10, rebuild: bool = False) -> list[Hit]:
    """Rank the corpus of a run for one query.

    The index is made on first use and kept in the run's folder; a changed student or corpus makes it anew.

    Args:
        work_dir: Folder of a finished or interrupted run.
        query: What to look for.
        top: How many answers.
        rebuild: Make the index anew in any case.

    Raises:
        UsageError: If the folder holds no student, or its corpus is gone.
    """
    folder = Path(work_dir)
    student_folder = folder / "student"
    if not (student_folder / "modules.json").is_file():
        raise UsageError(
            f"{str(folder)!r} holds no saved sentence encoder",
            expected=str(student_folder),
            fix="give the work_dir of a run that kdhub trained; `kdhub demo` makes one",
        )
    corpus = load_corpus(corpus_of(folder))
    student = load_sentence_transformer(str(student_folder))
    index = _index(folder / "index", student_folder, student, corpus, rebuild)
    vector = _encode(student, [query], student.encode_query)
    return [
        Hit(rank, score, key, " ".join(corpus[key].content.split())[:_SHOWN])
        for rank, (key, score) in enumerate(index.search(vector, top)[0], start=1)
    ]


def corpus_of(work_dir: Path) -> str:
    """Return the data folder that the run's config evaluates on, or else trains on.

    Raises:
        UsageError: If there is no config, or no dataset of kdret in it.
    """
    from kdhub.config.load import load_config

    config_path = work_dir / "config.py"
    if not config_path.is_file():
        raise UsageError(f"no config.py in {str(work_dir)!r}", expected="the work_dir of a run that kdhub trained")
    config = load_config(str(config_path))
    for part in ("test_dataloader", "val_dataloader", "train_dataloader"):
        for dataset in _datasets(config.get(part)):
            if str(dataset.get("type", "")).startswith("kdret."):
                return dataset["data_root"]
    raise UsageError("no dataset of kdret to search", where=str(config_path))


def _datasets(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every dict with a ``data_root`` inside, so that wrapped datasets are found too."""
    if isinstance(node, Mapping):
        if "data_root" in node:
            yield node
        for value in node.values():
            yield from _datasets(value)


def _index(
    folder: Path, student_folder: Path, student: SentenceTransformer, corpus: dict[str, Document], rebuild: bool
) -> FlatIndex:
    state = {"student": _digest_of(student_folder), "corpus": _digest_of_texts(corpus)}
    if not rebuild and _read(folder / _STATE) == state:
        return FlatIndex.load(folder)
    documents = {key: document.content for key, document in corpus.items() if document.content}
    say(f"indexing {len(documents)} documents with the student, once")
    vectors = _encode(student, list(documents.values()), student.encode_document, progress=True)
    index = FlatIndex(_similarity(student)).build(vectors, list(documents))
    with atomic_folder(folder) as partial:
        index.save(partial)
        (partial / _STATE).write_text(json.dumps(state), encoding="utf-8")
    return index


def _similarity(student: SentenceTransformer) -> str:
    return "cosine" if student.similarity_fn_name == "cosine" else "dot"


def _encode(student: SentenceTransformer, texts: list[str], encode: Callable[..., Any], progress: bool = False) -> Any:
    return encode(
        texts,
        batch_size=64,
        convert_to_numpy=True,
        normalize_embeddings=_similarity(student) == "cosine",
        show_progress_bar=progress and sys.stderr.isatty(),
    )


def _digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def _digest_of_texts(corpus: dict[str, Document]) -> str:
    digest = hashlib.sha256()
    for document in corpus.values():
        digest.update(json.dumps([document.id, document.content]).encode())
    return digest.hexdigest()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
