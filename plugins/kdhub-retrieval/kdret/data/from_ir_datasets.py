"""Make a data folder of one of ir_datasets' collections (BEIR, MS MARCO, TREC, Vaswani and hundreds of others).

The library downloads and checks the checksums of what it downloads; https://ir-datasets.com lists the names. A split is
SPLIT=DATASET, or the last part of a name alone: `test` means DATASET/test. Without --splits, the data set's own queries are the split
`test`.

Examples:
  pip install 'kdhub-retrieval[ir-datasets]'
  python -m kdret.data.from_ir_datasets beir/scifact --splits train test --output data/scifact
  python -m kdret.data.from_ir_datasets vaswani --output data/vaswani
  python -m kdret.data.from_ir_datasets msmarco-passage --splits train=msmarco-passage/train/judged test=msmarco-passage/trec-dl-2019/judged --output data/msmarco
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdhub.api import KdhubError, UsageError, atomic_folder, near_matches
from kdret.data.written import write_corpus, write_split


def convert(name: str, splits: Mapping[str, str], target: Path) -> dict[str, int]:
    """Write the folder.

    What `kdret.data.written.write_split` leaves out is counted and said.

    Args:
        name: The data set whose documents are the corpus.
        splits: Name of a split to the data set that has its queries and judgements.
        target: Existing folder to fill.

    Returns:
        Split to its number of queries.

    Raises:
        UsageError: If ir_datasets is not installed, knows no such name, cannot get the data, or a part is missing.
    """
    parts = {split: _loaded(of, "queries", "qrels") for split, of in splits.items()}
    corpus = _loaded(name, "docs")
    ids = write_corpus(target, map(_fields, _read(name, corpus.docs_iter)))
    counts = {}
    for split, part in parts.items():
        texts = {query.query_id: query.default_text() for query in _read(splits[split], part.queries_iter)}
        judged = ((one.query_id, one.doc_id, one.relevance) for one in _read(splits[split], part.qrels_iter))
        counts[split] = write_split(target, split, ids, texts, judged)
    return counts


def named_splits(name: str, words: Sequence[str]) -> dict[str, str]:
    """Return the data set of each split.

    Args:
        name: The corpus's data set.
        words: ``SPLIT=DATASET``, or ``SPLIT`` for ``name/SPLIT``; none takes the data set itself as ``test``.

    Raises:
        UsageError: For a split whose name cannot be part of a file's.
    """
    pairs = [word.partition("=") for word in words]
    for split, _, of in pairs:
        if "/" in split or not split:
            raise UsageError(
                "not the name of a split", got=repr(split), fix=f"--splits NAME={of or f'{name}/{split}'} names it"
            )
    return {split: of or f"{name}/{split}" for split, _, of in pairs} or {"test": name}


def _fields(document: Any) -> dict[str, str]:
    title = getattr(document, "title", None)
    if isinstance(title, str) and isinstance(text := getattr(document, "text", None), str):
        return {"_id": document.doc_id, "title": title, "text": text}
    return {"_id": document.doc_id, "title": "", "text": document.default_text()}


def _loaded(name: str, *parts: str) -> Any:
    try:
        import ir_datasets
    except ImportError as error:
        raise UsageError("ir_datasets is not installed", fix="pip install 'kdhub-retrieval[ir-datasets]'") from error
    try:
        found = ir_datasets.load(name)
    except KeyError as error:
        near = near_matches(name, ir_datasets.registry)
        raise UsageError(f"ir_datasets has no data set {name!r}", near=near) from error
    for part in parts:
        if not getattr(found, f"has_{part}")():
            others = [one for one in ir_datasets.registry if one.startswith(f"{name}/")]
            raise UsageError(f"{name} has no {part}", expected="a data set that has", near=others[:5])
    return found


def _read(name: str, iterate: Any) -> Iterator[Any]:
    try:
        yield from iterate()
    except (OSError, RuntimeError, ValueError) as error:
        got = " ".join(str(error).split())[:200] or type(error).__name__
        fix = "see https://ir-datasets.com for what must be downloaded by hand"
        raise UsageError(f"ir_datasets cannot read {name}", got=got, fix=fix) from error


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kdret.data.from_ir_datasets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="DATASET", help="name in ir_datasets, such as beir/scifact")
    parser.add_argument("--splits", metavar="SPLIT[=DATASET]", nargs="+", default=[], help="queries and judgements")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    args = parser.parse_args(words)
    try:
        if args.output.exists():
            raise UsageError("the folder is there already", where=str(args.output), fix="choose another --output")
        with atomic_folder(args.output) as folder:
            counts = convert(args.name, named_splits(args.name, args.splits), folder)
    except KdhubError as error:
        print(error, file=sys.stderr)
        return 2
    for split, count in counts.items():
        print(f"{args.output}: {split}, {count} queries")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
