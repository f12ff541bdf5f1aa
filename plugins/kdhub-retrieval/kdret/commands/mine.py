"""``kdhub mine``: a teacher's scores for candidate documents, once, so that training needs no teacher."""

from __future__ import annotations

import shlex
from pathlib import Path

from kdhub.api import Parser

TEXT = """Write a teacher's scores for candidate documents, once, so that training needs no teacher.

For each query of a split: its relevant documents, if somebody judged it, and its negatives, each with the teacher's score, as
the data set kdret.ScoredLists reads them. The teacher is an encoder, dense, sparse or late-interaction, or a cross-encoder, which
needs a --finder. Relevant documents, copies of their texts and the query itself are never negatives. After Ctrl-C the same command goes
on where it stopped.

Which negatives:
  --ranks 10 200          from rank 10 up to 200 of what is left, instead of from the best on up to 20 times --depth
  --draw random --seed 1  any of these ranks; the same ones for the same seed
  --relative-margin 0.05  only what scores at least 5 % below the relevant document that scores lowest; --margin in points
  --max-score 0.8         without what the teacher scores higher: probably relevant, and not judged
  --finder MODEL          those that another model ranks high, such as the student; the scores stay the teacher's
  --index DIR             search an index of `kdhub index build` instead of encoding the corpus

--workers 8 encodes and mines in shares on Ray, on this machine or the cluster that RAY_ADDRESS names; all its machines must see the data,
the models and --output. The lists are the same for any number of workers.

Examples:
  kdhub mine data/cranfield --teacher models/teacher --output data/cranfield/lists.jsonl.gz
  kdhub mine data/cranfield --teacher models/teacher --output lists.jsonl --depth 20 --max-length 256
  kdhub mine data/cranfield --teacher models/teacher --finder work_dirs/demo/student --output lists.jsonl
  kdhub mine data/cranfield --teacher models/teacher --output lists.jsonl --ranks 5 100 --draw random --max-score 0.9
  kdhub mine data/cranfield --teacher models/reranker --finder models/dense --output lists.jsonl --margin 1
  kdhub mine data/msmarco --teacher models/teacher --index indexes/msmarco --output lists.jsonl.gz --workers 8"""


def main(argv: list[str]) -> int:
    """Mine and score; return the exit code."""
    parser = Parser("mine", TEXT)
    parser.add_argument("data", help="folder in BEIR's layout, such as data/cranfield")
    parser.add_argument("--teacher", required=True, help="folder, name on the hub, or package://NAME/FOLDER")
    parser.add_argument("--split", default="train", help="split whose queries are scored (default train)")
    parser.add_argument(
        "--depth", type=int, default=50, help="best documents to keep besides the relevant (default 50)"
    )
    parser.add_argument(
        "--max-length", type=int, help="tokens of a text that the teacher reads (default its own limit)"
    )
    parser.add_argument("--output", required=True, help=".jsonl or .jsonl.gz file to write")
    parser.add_argument(
        "--ranks", type=int, nargs=2, metavar=("FIRST", "LAST"), help="ranks of negatives (default 0, 20 times --depth)"
    )
    parser.add_argument("--margin", type=float, help="how much less than a relevant document a negative scores")
    parser.add_argument("--relative-margin", type=float, help="the same as a part of the relevant document's score")
    parser.add_argument("--max-score", type=float, help="highest score of a negative")
    parser.add_argument("--draw", default="best", help="best or random (default best)")
    parser.add_argument("--seed", type=int, default=0, help="of a random draw (default 0)")
    parser.add_argument(
        "--finder", metavar="MODEL", help="model whose ranking the negatives come from (default the teacher)"
    )
    parser.add_argument("--index", metavar="DIR", help="saved index of the finder or, without one, of the teacher")
    parser.add_argument("--batch-size", type=int, default=32, help="texts, or pairs, read at once (default 32)")
    parser.add_argument(
        "--workers", type=int, help="mine in shares, so many at once, on Ray; RAY_ADDRESS names a cluster"
    )
    options = parser.parse(argv)

    from kdret.mining_job import mine

    given = vars(options)
    data, output = given.pop("data"), Path(given.pop("output"))
    done = mine(output.parent, data, name=output.name, again=shlex.join(["kdhub", "mine", *argv]), **given)
    print(f"{output}: {done['lists']} lists")
    return 0
