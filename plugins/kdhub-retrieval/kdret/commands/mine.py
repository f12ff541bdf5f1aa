"""``kdhub mine``: a teacher's scores for candidate documents, once, so that training needs no teacher."""

from __future__ import annotations

from kdhub.api import Parser

TEXT = """Write a teacher's scores for candidate documents, once, so that training needs no teacher.

For each query of a split: its relevant documents and the best others, each with the teacher's score, as the data set
kdret.ScoredLists reads them.

Examples:
  kdhub mine data/cranfield --teacher models/teacher --output data/cranfield/lists.jsonl.gz
  kdhub mine data/cranfield --teacher models/teacher --output lists.jsonl --depth 20 --max-length 256"""


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
    options = parser.parse(argv)

    from kdhub.api import integer, optional, require
    from kdret.data.beir import load_split
    from kdret.loading import load_sentence_transformer
    from kdret.mine import mine_lists

    data = load_split(options.data, options.split)
    require("mine", optional(integer(1)), **{"--max-length": options.max_length})
    teacher = load_sentence_transformer(options.teacher)
    if options.max_length is not None:
        teacher.max_seq_length = options.max_length
    lines = mine_lists(teacher, data, options.output, options.depth)
    print(f"{options.output}: {lines} lists")
    return 0
