"""Turns of conversations, from the files of CAsT, QReCC and TopiOCQA: what was said before, and how others reword the last question."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, read_jsonl
from kdret.data.fields import id_of, text_of

SEPARATOR = " [SEP] "
"""What stands between two parts of a conversation, as text: BERT's tokenizer makes its separator of it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a user.

    Attributes:
        id: Unique in its file.
        conversation: What it belongs to; a conversation is never split between training and test.
        utterance: The question as it was asked.
        history: All that was said before, the oldest first: questions, and answers where the file has them.
        rewrites: Name of a rewriter to the question as it would be asked out of the blue.
        relevant: Passages that the file itself judges relevant.
        group: What the file sorts conversations by, such as a year or a domain; empty if by nothing.
    """

    id: str
    conversation: str
    utterance: str
    history: tuple[str, ...] = ()
    rewrites: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    relevant: tuple[str, ...] = ()


def flattened(turn: Turn, last: int | None = None, separator: str = SEPARATOR) -> str:
    """Write a conversation as one query, the newest part first.

    Where an encoder cuts the query off it then loses the oldest parts.

    Args:
        turn: The turn that is asked.
        last: How many of the earlier parts to keep; ``None`` for all.
        separator: Stands between two parts.

    Source: Lupart et al. 2025, DiSCo, arXiv 2410.14609; card disco.md, section 4.
    """
    earlier = list(reversed(turn.history))
    return separator.join([turn.utterance, *(earlier if last is None else earlier[:last])])


def read_turns(path: Path) -> list[Turn]:
    """Read a file of conversations; its fields tell whose format it is.

    * one JSON object a line: ``_id``, ``utterance``, ``history`` (a list), ``rewrite`` and other fields that end in ``rewrite``;
    * QReCC and TopiOCQA: a JSON list of turns with ``Conversation_no``, ``Turn_no``, ``Question``, ``Context``, perhaps ``Rewrite``;
    * TopiOCQA for retrievers: a JSON list of turns with ``conv_id``, ``turn_id``, ``question``, the whole conversation with ``[SEP]``
      between its parts, and ``positive_ctxs``, whose first ``passage_id`` is relevant;
    * TREC CAsT: a JSON list of topics with ``number`` and ``turn``, each with ``raw_utterance`` and
      ``manual_rewritten_utterance`` or ``automatic_rewritten_utterance``.

    Raises:
        UsageError: For another format, a missing field, or an id that occurs twice.
    """
    turns = list(_turns(path))
    seen: set[str] = set()
    for turn in turns:
        if turn.id in seen:
            raise UsageError(f"turn {turn.id!r} occurs a second time", where=str(path))
        seen.add(turn.id)
    if not turns:
        raise UsageError("no turns", where=str(path), got="an empty file", expected="at least one turn")
    return turns


def _turns(path: Path) -> Iterator[Turn]:
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        yield from (_from_line(entry, f"{path}:{number}") for number, entry in read_jsonl(path))
        return
    entries = _json_list(path)
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        if "Conversation_no" in entry:
            yield _from_qrecc(entry, where)
        elif "conv_id" in entry:
            yield _from_retriever(entry, where)
        elif "turn" in entry:
            yield from _from_cast(entry, where)
        else:
            raise UsageError(
                "an unknown format of conversations",
                where=where,
                expected="the fields of CAsT, QReCC or TopiOCQA; see `kdret.data.conversations.read_turns`",
                got=", ".join(entry)[:200],
            )


def _from_line(entry: dict[str, Any], where: str) -> Turn:
    key = id_of(entry, "_id", where)
    history = entry.get("history", [])
    if not isinstance(history, list) or not all(isinstance(part, str) for part in history):
        raise UsageError("no usable 'history'", where=where, expected="a list of texts", got=repr(history)[:80])
    names = [name for name in entry if name.endswith("rewrite")]
    rewrites = {_rewriter(name.removesuffix("rewrite")): text_of(entry, name, where) for name in names}
    group = str(entry.get("domain") or entry.get("year") or "")
    # ids count the turns of a conversation behind their last mark
    return Turn(key, _stem(key), text_of(entry, "utterance", where), tuple(history), rewrites, group)


def _from_qrecc(entry: dict[str, Any], where: str) -> Turn:
    conversation, turn = (id_of(entry, name, where) for name in ("Conversation_no", "Turn_no"))
    context = entry.get("Context", [])
    if not isinstance(context, list) or not all(isinstance(part, str) for part in context):
        raise UsageError("no usable 'Context'", where=where, expected="a list of texts", got=repr(context)[:80])
    rewrites = {"human": text_of(entry, "Rewrite", where)} if "Rewrite" in entry else {}
    return Turn(
        f"{conversation}_{turn}",
        conversation,
        text_of(entry, "Question", where),
        tuple(context),
        rewrites,
        str(entry.get("Conversation_source") or ""),
    )


def _from_retriever(entry: dict[str, Any], where: str) -> Turn:
    conversation, turn = (id_of(entry, name, where) for name in ("conv_id", "turn_id"))
    *history, utterance = (part.strip() for part in text_of(entry, "question", where).split(SEPARATOR.strip()))
    found = entry.get("positive_ctxs", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageError("no usable 'positive_ctxs'", where=where, expected="a list of objects", got=repr(found)[:80])
    relevant = tuple(id_of(one, "passage_id", where) for one in found[:1])
    return Turn(f"{conversation}_{turn}", conversation, utterance, tuple(history), relevant=relevant)


_CAST: dict[str, str] = {"manual_rewritten_utterance": "human", "automatic_rewritten_utterance": "auto"}


def _from_cast(topic: dict[str, Any], where: str) -> Iterator[Turn]:
    number, history = id_of(topic, "number", where), []
    for entry in topic["turn"]:
        turn = id_of(entry, "number", where)
        utterance = text_of(entry, "raw_utterance", f"{where}, turn {turn}")
        rewrites = {name: entry[key] for key, name in _CAST.items() if isinstance(entry.get(key), str)}
        yield Turn(f"{number}_{turn}", number, utterance, tuple(history), rewrites)
        history.append(utterance)


def _json_list(path: Path) -> list[dict[str, Any]]:
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError("cannot read the conversations", where=str(path), got=str(error)) from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UsageError("no list of conversations", where=str(path), expected="a JSON list of objects")
    return content


def _rewriter(name: str) -> str:
    return name.rstrip("_-") or "human"


def _stem(key: str) -> str:
    stem = key.rstrip("0123456789").rstrip("_<>:-")
    return stem or key
