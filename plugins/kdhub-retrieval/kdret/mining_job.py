"""The job `kdret.Mine`, which ``kdhub mine`` does too: from names of models and data to a file of mined lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, integer, optional, require
from kdret.corpus_index import about_of
from kdret.data.digests import corpus_fingerprint, texts_fingerprint
from kdret.index import load_index
from kdret.mine import mine_lists
from kdret.mining_shares import RayShares
from kdret.mining_task import MiningTask
from kdret.negatives import NegativeRules
from kdret.text_vectors import model_fingerprint


def mine(
    folder: Path,
    data_root: str,
    teacher: str,
    split: str = "train",
    depth: int = 50,
    ranks: Sequence[int] | None = None,
    margin: float | None = None,
    relative_margin: float | None = None,
    max_score: float | None = None,
    draw: str = "best",
    seed: int = 0,
    finder: str | None = None,
    index: str | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    name: str = "lists.jsonl.gz",
    again: str = "",
    workers: int | None = None,
) -> dict[str, Any]:
    """Score the relevant documents and the negatives of each query of a split; see `kdret.mine.mine_lists`.

    What was encoded and mined stands beside the file until that is whole. A call with the same models, data and options goes on
    from there. A recipe that names the job as its predecessor, ``predecessors=dict(lists='mine.py')``, mines and trains in one
    command; its `kdret.ScoredLists` has ``scores='@lists/lists.jsonl.gz'``.

    Args:
        folder: Where the file shall stand; the folder of the job.
        data_root: Folder in BEIR's layout.
        teacher: Whose scores are written: an encoder of any kind, or a cross-encoder. A folder, a name on the hub, or
            ``package://NAME/FOLDER``.
        split: Split whose queries are asked.
        depth: How many negatives of each query.
        ranks: First and last rank of negatives; ``None`` begins with the best and ends after 20 times
            ``depth``.
        margin: A negative scores at least so much less than the relevant document that scores lowest.
        relative_margin: The same as a part of that document's score.
        max_score: What the teacher scores higher is probably relevant, and not judged.
        draw: ``'best'``, or ``'random'`` for any of the ranks.
        seed: Of a random draw.
        finder: Encoder whose ranking the negatives come from; ``None`` takes the teacher. A cross-encoder needs one.
        index: Folder of an index that ``kdhub index build`` made with the finder; ``None`` encodes the corpus.
        max_length: Tokens of a text, or of a pair, that the teacher reads; ``None`` keeps its own limit.
        batch_size: Texts, or pairs, read at once.
        name: Of the file, ``.jsonl`` or ``.jsonl.gz``.
        again: What to type to go on after Ctrl-C, for the error.
        workers: How many processes encode and mine on Ray, on this machine or the cluster that ``RAY_ADDRESS`` names; 0 works in
            the same shares in this process, ``None`` without shares. The lists are the same for any number.

    Returns:
        ``lists``: how many were written.

    Raises:
        UsageError: As there; for missing data or models; or an index of another model or corpus.
    """
    first, last = ranks or (0, None)
    rules = NegativeRules(depth, first, last, margin, relative_margin, max_score, draw, seed)
    require("mine", optional(integer(1)), max_length=max_length)
    require("mine", optional(integer(0)), workers=workers)
    if index and max_length and not finder:
        raise UsageError(
            "an index holds texts as long as they were when it was built", fix="leave --max-length out, or --index"
        )
    task = MiningTask(data_root, split, teacher, rules, finder, index, max_length, batch_size)
    data, scorer, searcher = task.data(), task.model(), task.searcher()
    own = model_fingerprint(teacher, scorer)
    about = {
        # the teacher's vectors are cut by max_length, and not scaled as a finder's may be
        "model": searcher.fingerprint() if searcher else f"{own} as teacher, max_length {max_length}",
        "corpus": corpus_fingerprint(data.corpus),
        "queries": texts_fingerprint(data.queries.items()),
        "qrels": texts_fingerprint((query, str(sorted(judged.items()))) for query, judged in data.qrels.items()),
        "teacher": own,
        "rules": asdict(rules),
        "max_length": max_length,
        "index": str(Path(index).resolve()) if index else None,
    }
    found = load_index(index, mmap=True, about=about_of(searcher, data.corpus)) if index and searcher else None
    path = Path(folder, name)
    lists = mine_lists(
        scorer,
        data,
        path,
        batch_size=batch_size,
        rules=rules,
        index=found,
        finder=searcher,
        about=about,
        again=again,
        shares=None if workers is None else RayShares(task, workers, path.with_name(f".{path.name}.shares"), about),
    )
    return {"lists": lists}
