"""Make a data folder of conversations, in the layout that all of kdret's data sets read.

Each split comes several times, with the same ids and judgements, so that whatever reads a split reads any form of it:

    SPLIT                the whole conversation as one query, the newest part first: what the student is given
    SPLIT-utterance      the last question alone
    SPLIT-REWRITER       the last question as a rewriter puts it: what a teacher is given

`kdhub mine FOLDER --split train-human --teacher MODEL --output FOLDER/human.jsonl.gz` then writes a teacher's scores, and
`kdret.ScoredLists(split='train', scores='human.jsonl.gz', first='best')` gives them to the student. A conversation is never
divided: which ones make the split `test` is decided by a hash of their names.

Examples:
  python -m kdret.data.conversational turns.jsonl.gz --passages passages.jsonl.gz --qrels qrels.jsonl.gz --output data/cast
  python -m kdret.data.conversational turns.jsonl.gz ... --rewrites mistral=work_dirs/rewrite/rewrites.jsonl
  python -m kdret.data.conversational qrecc_train.json --passages collection.jsonl --qrels qrels.jsonl --test 0 --output data/qrecc
  python -m kdret.data.conversational train.json --passages full_wiki_segments.tsv --test 0 --row-ids --output data/topiocqa
  python -m kdret.data.conversational 2020_topics.json --passages passages.tsv --qrels 2020qrels.txt --output data/cast20
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdhub.api import KdhubError, UsageError, atomic_folder, near_matches, read_jsonl, write_jsonl
from kdret.data.conversation_files import Judged, read_judgements, read_passages
from kdret.data.conversations import Turn, flattened, read_turns
from kdret.data.fields import id_of, text_of


def convert(
    turns: Sequence[Turn],
    passages: Path,
    qrels: Path | None,
    target: Path,
    *,
    test: float = 0.5,
    last: int | None = None,
) -> dict[str, int]:
    """Write the folder.

    Args:
        turns: All turns.
        passages: As for `read_passages`.
        qrels: As for `read_judgements`; ``None`` takes the passages that the turns name themselves.
        target: Existing folder to fill.
        test: Which part of the conversations with judged turns goes into the split `test`.
        last: How many earlier parts of a conversation are kept; ``None`` for all.

    Returns:
        Split to its number of queries. The split ``train`` has all turns of its conversations that a rewrite exists for, judged or
        not: a teacher's scores need no judgement. `test` has the judged turns alone.

    Raises:
        UsageError: If a judgement names an unknown turn, or no turn is judged.
    """
    judged: dict[str, list[dict[str, Any]]] = {}
    known = {turn.id for turn in turns}
    for where, query, document, score in _own(turns) if qrels is None else read_judgements(qrels):
        if query not in known:
            raise UsageError(
                f"judgement of an unknown turn {query!r}",
                where=where,
                near=near_matches(query, known),
                fix="add --row-ids if these are rows of the file of turns"
                if query.isdecimal()
                else "take its own judgements",
            )
        judged.setdefault(query, []).append({"query_id": query, "doc_id": document, "score": score})
    if not judged:
        raise UsageError(
            "no judgements",
            where=str(qrels or "the file of turns"),
            expected="at least one turn that is judged",
            fix="give a file with --qrels" if qrels is None else "look at the file",
        )
    held = _held_back(sorted({turn.conversation for turn in turns if turn.id in judged}), test)
    splits = {
        "train": [turn for turn in turns if turn.conversation not in held],
        "test": [turn for turn in turns if turn.conversation in held and turn.id in judged],
    }
    write_jsonl(target / "corpus.jsonl.gz", read_passages(passages))
    counts = {}
    for split, own in splits.items():
        for name, queries in _forms(split, own, last).items():
            write_jsonl(
                target / f"queries.{name}.jsonl.gz", ({"_id": key, "text": text} for key, text in queries.items())
            )
            rows = [row for key in queries for row in judged.get(key, [])]
            if rows:
                write_jsonl(target / f"qrels.{name}.jsonl.gz", rows)
            counts[name] = len(queries)
    return counts


def with_rewrites(turns: Sequence[Turn], named: Sequence[str]) -> list[Turn]:
    """Add rewrites from files of lines with ``_id`` and ``rewrite``.

    Args:
        turns: The turns.
        named: ``NAME=FILE`` for each file.

    Raises:
        UsageError: If one has another form, or rewrites no turn that is there.
    """
    found = list(turns)
    for entry in named:
        name, equals, path = entry.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError("bad --rewrites", expected="NAME=FILE, such as mistral=rewrites.jsonl", got=entry)
        own = {
            id_of(line, "_id", f"{path}:{number}"): text_of(line, "rewrite", f"{path}:{number}")
            for number, line in read_jsonl(Path(path))
        }
        if not own.keys() & {turn.id for turn in turns}:
            raise UsageError("these are rewrites of other turns", where=path)
        found = [
            replace(turn, rewrites={**turn.rewrites, name: own[turn.id]}) if turn.id in own else turn for turn in found
        ]
    return found


def _own(turns: Sequence[Turn]) -> Iterator[Judged]:
    return (Judged(f"turn {turn.id}", turn.id, passage, 1) for turn in turns for passage in turn.relevant)


def _forms(split: str, turns: Sequence[Turn], last: int | None) -> dict[str, Mapping[str, str]]:
    if not turns:
        return {}
    forms: dict[str, Mapping[str, str]] = {
        split: {turn.id: flattened(turn, last) for turn in turns},
        f"{split}-utterance": {turn.id: turn.utterance for turn in turns},
    }
    for name in sorted({name for turn in turns for name in turn.rewrites}):
        forms[f"{split}-{name}"] = {turn.id: turn.rewrites[name] for turn in turns if name in turn.rewrites}
    return forms


def _held_back(conversations: Sequence[str], part: float) -> set[str]:
    """Choose conversations by a hash of their names: the same ones everywhere, and whatever else the file holds."""
    ranked = sorted(conversations, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(ranked[: round(part * len(ranked))])


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kdret.data.conversational",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "turns", metavar="TURNS", type=Path, help="conversations: CAsT, QReCC, TopiOCQA, or lines of JSON"
    )
    parser.add_argument(
        "--passages", type=Path, required=True, help="corpus: lines of JSON, TopiOCQA's or MS MARCO's .tsv"
    )
    parser.add_argument(
        "--qrels",
        type=Path,
        help="judgements: lines of JSON, {query: {passage: 1}}, TREC's (those of TURNS, if it has any)",
    )
    parser.add_argument(
        "--row-ids", action="store_true", help="number the turns by their rows from 0, as DiSCo's published runs do"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--rewrites",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="more rewrites, such as the job kdret.Rewrite makes",
    )
    parser.add_argument("--test", type=float, default=0.5, help="part of the judged conversations to hold back (0.5)")
    parser.add_argument("--last", type=int, help="how many earlier parts of a conversation to keep (all)")
    args = parser.parse_args(words)
    try:
        if args.output.exists():
            raise UsageError("the folder is there already", where=str(args.output), fix="choose another --output")
        if not 0 <= args.test <= 1:
            raise UsageError("bad --test", expected="a part from 0 to 1", got=str(args.test))
        turns = with_rewrites(read_turns(args.turns), args.rewrites)
        if args.row_ids:
            turns = [replace(turn, id=str(row)) for row, turn in enumerate(turns)]
        with atomic_folder(args.output) as folder:
            counts = convert(turns, args.passages, args.qrels, folder, test=args.test, last=args.last)
    except KdhubError as error:
        print(error, file=sys.stderr)
        return 2
    for split, count in counts.items():
        print(f"{args.output}: {split}, {count} queries")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
