"""The docstring corpus: real text that lies on every machine with Python.

Query: the first sentence of a docstring. Its one relevant document: the signature and the rest of that docstring.
Written in BEIR's layout, so that from there on it is data like any other. No top-level module is in two splits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, atomic_folder, is_unicode, write_jsonl
from kdret.data.extract import Docstring, docstrings
from kdret.data.sources import in_fixed_order, installed_distributions, standard_library

SPLITS = {"train": 70, "val": 15, "test": 15}
"""Share of top-level modules in each split, in percent."""


def build(folder: str | Path, *, installed: bool = True, per_module: int = 150) -> dict[str, Any]:
    """Write the docstring corpus of this machine and return its manifest.

    Args:
        folder: Where to write; replaced as a whole, and only once everything is written.
        installed: Whether to read installed distributions besides the standard library.
        per_module: At most this many documents of one top-level module, so that no package dominates.

    Returns:
        The content of ``manifest.json``: versions, counts, how many docstrings were left out and why, and checksums.

    Raises:
        UsageError: If the folder cannot be written, or ``per_module`` is below 1.
    """
    if per_module < 1:
        raise UsageError("docstrings: bad per_module", expected="a whole number from 1", got=repr(per_module))
    files = {f"stdlib/{name}": paths for name, paths in standard_library().items()}
    versions: dict[str, str] = {}
    if installed:
        packages, versions = installed_distributions()
        files |= {f"installed/{name}": paths for name, paths in packages.items()}
    dropped: Counter[str] = Counter()
    rows = _without_duplicates(
        [
            (split_of(name), entry)
            for name, paths in sorted(files.items())
            for entry in _sample(paths, name.partition("/")[2], per_module, dropped)
        ],
        dropped,
    )
    with atomic_folder(Path(folder)) as partial:
        manifest = _write(partial, rows) | {
            "python": platform.python_version(),
            "distributions": versions,
            "per_module": per_module,
            "dropped": dict(sorted(dropped.items())),
        }
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def split_of(top_level: str) -> str:
    """Return the split of a top-level module: always the same, whatever else is installed.

    Leading underscores do not count, so that ``_pytest`` goes where ``pytest`` goes.
    """
    name = top_level.rpartition("/")[2].lstrip("_").lower()
    position = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    for split, share in SPLITS.items():
        if position < share:
            return split
        position -= share
    raise AssertionError("shares add up to 100")


def _sample(paths: list[Path], top_level: str, limit: int, dropped: Counter[str]) -> Iterator[Docstring]:
    taken = 0
    for path in in_fixed_order(paths, top_level):
        for entry in docstrings(path, _module(path, top_level), dropped):
            reason = _unfit(entry)
            if reason:
                dropped[reason] += 1
            else:
                yield entry
                taken += 1
            if taken == limit:
                return


def _module(path: Path, top_level: str) -> str:
    parts = path.with_suffix("").parts
    inside = parts[len(parts) - 1 - parts[::-1].index(top_level) :] if top_level in parts else parts[-1:]
    return ".".join(part for part in inside if part != "__init__")


def _unfit(entry: Docstring) -> str:
    if not is_unicode(f"{entry.name} {entry.sentence} {entry.signature} {entry.rest}"):
        return "half of a surrogate pair"
    words = len(entry.sentence.split())
    if not 3 <= words <= 40:
        return "sentence of fewer than 3 or more than 40 words"
    if len(entry.rest.split()) < 5:
        return "fewer than 5 words besides the sentence"
    return ""


def _without_duplicates(rows: list[tuple[str, Docstring]], dropped: Counter[str]) -> list[tuple[str, Docstring]]:
    """Drop every sentence and every document that occurs twice: boilerplate, copied code, no single right answer."""
    sentences = Counter(entry.sentence.lower() for _, entry in rows)
    documents = Counter(_beginning(entry) for _, entry in rows)
    kept: dict[str, tuple[str, Docstring]] = {}
    for split, entry in rows:
        if sentences[entry.sentence.lower()] > 1:
            dropped["sentence occurs more than once"] += 1
        elif documents[_beginning(entry)] > 1:
            dropped["document occurs more than once"] += 1
        elif entry.name in kept:
            dropped["name occurs more than once"] += 1
        else:
            kept[entry.name] = (split, entry)
    return list(kept.values())


def _beginning(entry: Docstring) -> tuple[str, ...]:
    """What a copy still shares after small edits: the signature and the first words, which is also all that is encoded."""
    return (entry.signature, *entry.rest.lower().split()[:10])


def _write(folder: Path, rows: list[tuple[str, Docstring]]) -> dict[str, Any]:
    def document(entry: Docstring) -> Mapping[str, Any]:
        return {"_id": entry.name, "title": "", "text": f"{entry.signature}\n{entry.rest}"}

    write_jsonl(folder / "corpus.jsonl.gz", [document(entry) for _, entry in rows])
    for split in SPLITS:
        mine = [entry for name, entry in rows if name == split]
        write_jsonl(folder / f"queries.{split}.jsonl.gz", [{"_id": e.name, "text": e.sentence} for e in mine])
        write_jsonl(
            folder / f"qrels.{split}.jsonl.gz", [{"query_id": e.name, "doc_id": e.name, "score": 1} for e in mine]
        )
    return {
        "documents": {split: sum(name == split for name, _ in rows) for split in SPLITS},
        "sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())},
    }


def main(argv: list[str] | None = None) -> int:
    """Build the corpus from the command line: ``python -m kdret.data.docstrings data/docstrings``."""
    parser = argparse.ArgumentParser(
        prog="python -m kdret.data.docstrings", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", nargs="?", default="data/docstrings")
    parser.add_argument("--stdlib-only", action="store_true", help="leave installed packages out")
    options = parser.parse_args(argv)
    counts = build(options.folder, installed=not options.stdlib_only)["documents"]
    print(f"{options.folder}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
