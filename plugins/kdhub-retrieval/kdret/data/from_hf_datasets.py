"""Make a data folder of a retrieval data set of the Hugging Face hub, or of a folder in its form (BEIR's, MTEB's).

The library `datasets` downloads it. Three tables are read: `corpus` with `_id` or `id`, `title`, `text`; `queries` with `_id` or `id`,
`text`; and the judgements with `query-id`, `corpus-id`, `score`, whose splits are those of the folder. MTEB has the judgements in a
table `default` or `qrels`, BEIR in a data set of its own, whose name ends in `-qrels`.

Examples:
  pip install 'kdhub-retrieval[hf-datasets]'
  python -m kdret.data.from_hf_datasets mteb/scifact --splits train test --output data/scifact
  python -m kdret.data.from_hf_datasets BeIR/scifact --qrels BeIR/scifact-qrels --splits train test --output data/scifact
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdhub.api import KdhubError, UsageError, atomic_folder, near_matches
from kdret.data.written import write_corpus, write_split

_JUDGED = ("default", "qrels")


def convert(name: str, splits: Sequence[str], target: Path, qrels: str | None = None) -> dict[str, int]:
    """Write the folder.

    What `kdret.data.written.write_split` leaves out is counted and said.

    Args:
        name: Data set of the hub, or a folder in its form.
        splits: Splits of the judgements.
        target: Existing folder to fill.
        qrels: Data set of the judgements; ``None`` takes the table ``default`` or ``qrels`` of ``name``.

    Returns:
        Split to its number of queries.

    Raises:
        UsageError: If `datasets` is not installed or cannot get the data, or if a table, split or column is missing.
    """
    judged = {
        split: [
            (str(row["query-id"]), str(row["corpus-id"]), int(row["score"]))
            for row in _rows(qrels or name, _JUDGED, split, ("query-id", "corpus-id", "score"))
        ]
        for split in splits
    }
    texts = {str(row["_id"]): str(row["text"]) for row in _rows(name, ("queries",), None, ("_id", "text"))}
    documents = _rows(name, ("corpus",), None, ("_id", "text"))
    ids = write_corpus(
        target,
        ({"_id": str(row["_id"]), "title": row.get("title") or "", "text": row["text"] or ""} for row in documents),
    )
    # the queries of all splits stand in one table
    return {
        split: write_split(target, split, ids, {query: texts[query] for query, *_ in rows if query in texts}, rows)
        for split, rows in judged.items()
    }


def _rows(name: str, tables: Sequence[str], split: str | None, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Return the rows of the first of these tables that is there; no ``split`` takes its only one. They stay on the disk."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError("datasets is not installed", fix="pip install 'kdhub-retrieval[hf-datasets]'") from error
    try:
        there = datasets.get_dataset_config_names(name)
        table = next((table for table in tables if table in there), None)
        found = None if table is None else datasets.load_dataset(name, table)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        got = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"datasets cannot read {name}", got=got, fix="check the name and the network") from error
    if found is None:
        fix = "name the data set of the judgements: --qrels DATASET" if tables == _JUDGED else ""
        raise _missing("table", " or ".join(map(repr, tables)), name, there, fix)
    if split is None:
        if len(found) > 1:
            raise UsageError(f"{name}: the table {table!r} has several splits", expected="one", got=", ".join(found))
        (split,) = found
    if split not in found:
        raise _missing("split", repr(split), name, list(found))
    rows = found[split]
    if "_id" in columns and "_id" not in rows.column_names and "id" in rows.column_names:
        rows = rows.rename_column("id", "_id")
    for column in columns:
        if column not in rows.column_names:
            raise _missing("column", repr(column), f"{name}, table {table!r}", rows.column_names)
    return iter(rows)


def _missing(kind: str, what: str, where: str, there: Sequence[str], fix: str = "") -> UsageError:
    near = near_matches(what.strip("'"), there)
    return UsageError(f"{where} has no {kind} {what}", got=", ".join(there), near=near, fix=fix)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kdret.data.from_hf_datasets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="DATASET", help="name on the hub, such as mteb/scifact, or a folder")
    parser.add_argument("--splits", metavar="SPLIT", nargs="+", default=["test"], help="splits of the judgements")
    parser.add_argument("--qrels", metavar="DATASET", help="where the judgements are, if elsewhere")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    args = parser.parse_args(words)
    try:
        if args.output.exists():
            raise UsageError("the folder is there already", where=str(args.output), fix="choose another --output")
        with atomic_folder(args.output) as folder:
            counts = convert(args.name, args.splits, folder, args.qrels)
    except KdhubError as error:
        print(error, file=sys.stderr)
        return 2
    for split, count in counts.items():
        print(f"{args.output}: {split}, {count} queries")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
