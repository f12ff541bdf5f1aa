"""``kdhub mine``: a teacher's scores for candidate documents, once, so that training needs no teacher."""

from __future__ import annotations

from kdhub.api import Parser

TEXT = """Write a teacher's scores for candidate documents, once, so that training needs no teacher.

For each query of a split: its relevant documents, if somebody judged it, and its negatives, each with the teacher's score, as
the data set kdret.ScoredLists reads them. The teacher is a SentenceTransformer or a SparseEncoder. Relevant documents, copies of their texts and the query itself are never negatives.

Which negatives:
  --ranks 10 200          from rank 10 up to 200 of what is left, instead of from the best on
  --draw random --seed 1  any of these ranks; the same ones for the same seed
  --relative-margin 0.05  only what scores at least 5 % below the relevant document that scores lowest; --margin in points
  --max-score 0.8         without what the teacher scores higher: probably relevant, and not judged
  --finder MODEL          those that another model ranks high, such as the student; the scores stay the teacher's
  --index DIR             search an index of `kdhub index build` instead of encoding the corpus

Examples:
  kdhub mine data/cranfield --teacher models/teacher --output data/cranfield/lists.jsonl.gz
  kdhub mine data/cranfield --teacher models/teacher --output lists.jsonl --depth 20 --max-length 256
  kdhub mine data/cranfield --teacher models/teacher --finder work_dirs/demo/student --output lists.jsonl
  kdhub mine data/cranfield --teacher models/teacher --output lists.jsonl --ranks 5 100 --draw random --max-score 0.9"""


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
        "--ranks", type=int, nargs=2, metavar=("FIRST", "LAST"), help="ranks of negatives (default from 0 on)"
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
    options = parser.parse(argv)

    from kdhub.api import UsageError, integer, optional, require
    from kdret.corpus_index import about_of
    from kdret.data.beir import load_split
    from kdret.index import load_index
    from kdret.loading import load_encoder
    from kdret.mine import mine_lists
    from kdret.negatives import NegativeRules
    from kdret.text_vectors import TextVectors

    first, last = options.ranks or (0, None)
    rules = NegativeRules(
        options.depth,
        first,
        last,
        options.margin,
        options.relative_margin,
        options.max_score,
        options.draw,
        options.seed,
    )
    require("mine", optional(integer(1)), **{"--max-length": options.max_length})
    if options.index and options.max_length and not options.finder:
        raise UsageError(
            "an index holds texts as long as they were when it was built", fix="leave --max-length out, or --index"
        )
    data = load_split(options.data, options.split, judged=False)
    teacher = load_encoder(options.teacher)
    finder = TextVectors(options.finder or options.teacher) if options.finder or options.index else None
    index = load_index(options.index, about=about_of(finder, data.corpus)) if options.index and finder else None
    if options.max_length is not None:
        teacher.max_seq_length = options.max_length
    lines = mine_lists(teacher, data, options.output, rules=rules, index=index, finder=finder)
    print(f"{options.output}: {lines} lists")
    return 0
