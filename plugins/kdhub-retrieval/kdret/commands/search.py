"""``kdhub search``: ask the corpus of a run, with the student it trained."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from kdhub.api import Parser, add_json

if TYPE_CHECKING:
    from kdret.search import Hit

TEXT = """Ask the corpus of a run, with the student that it trained, or a saved index.

The first question makes the index of a run; it is made anew when the student or the corpus has changed. The config of the run is
not executed: where the corpus is stands in run.json. `kdhub index build` makes an index of any model and corpus.

An answer is one line: rank, score, id, and the beginning of the document. What a terminal would obey is escaped. --json prints a list of
objects with the keys rank, score, id and text, in ASCII.

Examples:
  kdhub search work_dirs/demo "read a csv file"
  kdhub search work_dirs/demo "parse a date" --top 3 --json
  kdhub search indexes/cranfield "wing flutter"          an index of `kdhub index build`"""


def main(argv: list[str]) -> int:
    """Search and print; return the exit code."""
    parser = Parser("search", TEXT)
    parser.add_argument("work_dir", help="folder of a run, such as work_dirs/demo, or of an index")
    parser.add_argument("query", help='what to look for, such as "read a csv file"')
    parser.add_argument("--top", type=int, default=10, help="number of answers (default 10)")
    parser.add_argument("--data", help="folder of the corpus (default: that of the run)")
    add_json(parser)
    parser.add_argument("--rebuild", action="store_true", help="make the index anew")
    options = parser.parse(argv)

    from kdret.search import search

    hits = search(options.work_dir, options.query, top=options.top, rebuild=options.rebuild, data=options.data)
    print_hits(hits, options.json)
    return 0


def print_hits(hits: list[Hit], as_json: bool) -> None:
    """Print answers for people, or for programs.

    Args:
        hits: From best to worst.
        as_json: Whether programs read them.
    """
    from kdhub.api import printable

    if as_json:
        # pure ASCII: what a terminal would obey is more than what JSON must escape
        print(json.dumps([hit._asdict() for hit in hits], indent=1))
        return
    columns = shutil.get_terminal_size((160, 0)).columns
    width = max((len(printable(hit.id)) for hit in hits), default=0)
    for hit in hits:
        line = f"{hit.rank:>4}  {hit.score:.3f}  {printable(hit.id):<{width}}  {printable(hit.text)}"
        print(line[:columns].rstrip())
