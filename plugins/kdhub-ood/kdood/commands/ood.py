"""``kdhub ood score``: one score a line of a text file of any size."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from kdhub.api import Parser

TEXT = """Score the lines of a text file: how far each is from the distribution that a scorer was trained on.

Prints, for each line of the file, the score and 1 if it is above the threshold, that is, out of distribution, separated by a tab. An
empty line has the score nan and counts as neither. The file is streamed: its size does not matter. A summary goes to stderr.

Examples:
  kdhub train kdood:clinc-scorer                                     train a scorer first
  kdhub ood score work_dirs/clinc-scorer requests.txt > scores.tsv
  kdhub ood score work_dirs/clinc-scorer - --json < requests.txt"""


def main(argv: list[str]) -> int:
    """Score; return the exit code."""
    parser = Parser("ood", TEXT)
    parser.add_argument("action", choices=("score",), help="score")
    parser.add_argument("work_dir", help="folder of the job kdood.fit_scorer")
    parser.add_argument("file", help="text file, one text a line, plain or gzipped; - for stdin")
    parser.add_argument("--threshold", type=float, help="another threshold than the scorer's")
    parser.add_argument("--batch-size", type=int, default=16, help="texts that run at once (default 16)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: line, score, perplexity, ood, cut")
    options = parser.parse(argv)

    from kdood.scorer import open_scorer

    scorer, settings = open_scorer(Path(options.work_dir), options.batch_size)
    threshold = settings.threshold if options.threshold is None else options.threshold
    counts = dict.fromkeys(("lines", "ood", "unscored", "cut"), 0)
    for number, score in enumerate(scorer.scores(_lines(options.file)), start=1):
        unscored, ood = math.isnan(score.nll), score.nll > threshold
        for name, one in (("lines", True), ("ood", ood), ("unscored", unscored), ("cut", score.cut)):
            counts[name] += one
        if options.json:
            value = None if unscored else score.nll
            perplexity = None if unscored or score.nll > 709 else math.exp(score.nll)
            row = {"line": number, "score": value, "perplexity": perplexity, "ood": ood, "cut": score.cut}
            print(json.dumps(row))
        else:
            print(f"{score.nll:.6f}\t{int(ood)}")
    said = [f"{counts['lines']} lines, {counts['ood']} out of distribution (score above {threshold:.6f})"]
    said += [f"{counts['unscored']} with nothing to score"] * bool(counts["unscored"])
    said += [f"{counts['cut']} cut after {settings.max_length} tokens"] * bool(counts["cut"])
    print(", ".join(said), file=sys.stderr)
    return 0


def _lines(name: str) -> Iterator[str]:
    from kdhub.api import read_lines
    from kdlm.tokenizer import found_file

    # stdin as a file, so that both are read alike
    path = Path("/dev/stdin") if name == "-" else found_file(name, "file")
    return (text for _, text in read_lines(path))
