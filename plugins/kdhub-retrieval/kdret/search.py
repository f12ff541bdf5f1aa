"""Search the corpus of a run with the student it trained."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sentence_transformers import SentenceTransformer

from kdhub.api import RunCard, UsageError, atomic_folder, say
from kdret.data.beir import Document, load_corpus
from kdret.data.jsonl import is_unicode
from kdret.index.dense import FaissIndex
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


def search(
    work_dir: str | Path, query: str, *, top: int = 10, rebuild: bool = False, data: str | Path | None = None
) -> list[Hit]:
    """Rank the corpus of a run for one query.

    The index is made on first use and kept in the run's folder; a changed student or corpus, or damage, makes it anew. Of the
    run's folder only ``run.json``, the student and the index are read. Its config is a program, and is not run.

    Args:
        work_dir: Folder of a finished or interrupted run.
        query: What to look for.
        top: How many answers.
        rebuild: Make the index anew in any case.
        data: Folder of the corpus; ``None`` takes the one of the run.

    Raises:
        UsageError: If the folder holds no student, or its corpus is gone, or the query is not Unicode.
    """
    folder = Path(work_dir)
    student_folder = folder / "student"
    if not (student_folder / "modules.json").is_file():
        raise UsageError(
            f"{str(folder)!r} holds no saved sentence encoder",
            expected=str(student_folder),
            fix="give the work_dir of a run that kdhub trained; `kdhub demo` makes one",
        )
    if not is_unicode(query):
        raise UsageError("the query is not Unicode text", got=repr(query), fix="type it in UTF-8")
    corpus = load_corpus(data if data is not None else corpus_of(folder))
    student = load_sentence_transformer(str(student_folder))
    index = _index(folder / "index", student_folder, student, corpus, rebuild)
    vector = _encode(student, [query], student.encode_query)
    return [
        Hit(rank, score, key, " ".join(corpus[key].content.split())[:_SHOWN])
        for rank, (key, score) in enumerate(index.search(vector, top)[0], start=1)
    ]


def corpus_of(work_dir: Path) -> str:
    """Return the data folder that a run evaluates on, or else trains on, as its ``run.json`` has it.

    Raises:
        UsageError: If there is no ``run.json``, or it names no data folder.
    """
    card = RunCard.read(work_dir)
    data = card.content.get("data", {}) if card else {}
    for part in ("val", "train"):
        if root := data.get(part, {}).get("data_root"):
            return str(root)
    raise UsageError(
        "run.json names no data folder" if card else "no run.json",
        where=str(work_dir),
        fix="give the folder of the corpus with --data",
    )


def _index(
    folder: Path, student_folder: Path, student: SentenceTransformer, corpus: dict[str, Document], rebuild: bool
) -> FaissIndex:
    state = {"student": _digest_of(student_folder), "corpus": _digest_of_texts(corpus)}
    if not rebuild and _read(folder / _STATE) == state:
        try:
            return FaissIndex.load(folder)
        except UsageError as error:
            say(f"{error.what}: {error.got}")
    documents = {key: document.content for key, document in corpus.items() if document.content}
    if not documents:
        raise UsageError("all documents of the corpus are empty", expected="at least one text")
    if len(documents) < len(corpus):
        say(f"left out {len(corpus) - len(documents)} documents without text")
    say(f"indexing {len(documents)} documents with the student, once")
    vectors = _encode(student, list(documents.values()), student.encode_document, progress=True)
    index = FaissIndex(_similarity(student), factory="Flat").build(vectors, list(documents))
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
