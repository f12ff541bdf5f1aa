"""`ScoredPairs`: published teacher scores of (query, relevant, other) triples, tens of millions of lines of them.

One line is ``pos_score <TAB> neg_score <TAB> query_id <TAB> pos_id <TAB> neg_id``, as Hofstätter et al. publish them; a file
whose two scores stand last, after ids or texts, is read too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from kdhub.api import UsageError
from kdret.columns import DOCUMENT, QUERY
from kdret.data.corpus import Corpus, load_corpus
from kdret.data.digests import data_fingerprint
from kdret.data.lines import Lines
from kdret.data.paths import find_beside, find_data, find_file
from kdret.data.scored_lists import normalised_weights

_ALIKE = 1000
"""On how many lines, spread over the files, it is checked that several teachers' files list the same pairs."""


class ScoredPairs(Dataset):
    """A query with a relevant and another document, and a teacher's score of both.

    Nothing but the places of lines is in memory: 40 million pairs and 9 million passages take some 180 MiB. A sample is read
    from disk when it is drawn.

    Args:
        data_root: Folder with a corpus, see `kdret.data.corpus`, and ``queries.<split>.tsv`` or ``.jsonl``; see
            `kdret.data.paths.find_data`. Not needed where the scores' lines hold texts.
        scores: File of scores; or several, one for each teacher, over the same pairs in the same order: their scores are
            averaged, as the T2 ensemble of the Margin-MSE paper is. Relative to ``data_root`` if not found as it stands.
        weights: Weight of each file in the average; equal ones by default.
        split: Split that the queries belong to.
        margins: ``"all"``, or ``"positive"`` to leave out pairs of which the teacher prefers the other document. That the
            teacher contradicts a judgement is often right: judgements are incomplete.

    Attributes:
        metainfo: ``data_root``, ``split``; ``dropped``: what was left out, counted as it was met.

    A pair that names an unknown id, has an empty text or a score that is NaN or infinite is not used: the next one takes its
    place, and the log counts them.

    Raises:
        UsageError: For files that are missing, cannot be read, or list other pairs than the first; later, for a line that is
            no scored pair, with its number.

    Source: Hofstätter et al. 2020, arXiv 2010.02666; card margin_mse.md, section 4.
    """

    def __init__(
        self,
        data_root: str,
        scores: str | Sequence[str],
        weights: Sequence[float] | None = None,
        split: str = "train",
        margins: str = "all",
    ) -> None:
        if margins not in ("all", "positive"):
            raise UsageError("ScoredPairs: bad margins", expected="'all' or 'positive'", got=repr(margins))
        root = find_data(data_root)
        self.data_root = str(root)
        names = [scores] if isinstance(scores, str) else list(scores)
        self._files = [Lines(_found(root, name)) for name in names]
        self._weights = normalised_weights("ScoredPairs", weights, len(names))
        self._positive = margins == "positive"
        self._dropped: Counter[str] = Counter()
        if not len(self._files[0]):
            raise UsageError("ScoredPairs: no pair", where=str(self._files[0].path), got="an empty file")
        self._texts_inside = not _Line(self._files[0], 0).ids_only
        self._tables: dict[str, Corpus] = {}
        if not self._texts_inside:
            self._tables = {QUERY: _queries(root, split), DOCUMENT: load_corpus(root)}
        self._require_alike()
        self.metainfo: dict[str, Any] = {"data_root": self.data_root, "split": split, "dropped": self._dropped}

    def __len__(self) -> int:
        return len(self._files[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        for step in range(len(self)):
            sample = self._sample((index + step) % len(self))
            if sample is not None:
                return sample
        raise UsageError(
            "ScoredPairs: no pair is left", where=str(self._files[0].path), got=_told(self._dropped), expected="one"
        )

    def fingerprint(self) -> str:
        """Identify the data and the scores, for the run card."""
        return data_fingerprint(self.data_root, *(file.path for file in self._files))

    def _sample(self, index: int) -> dict[str, Any] | None:
        lines = [_Line(file, index) for file in self._files]
        if any(line.pair != lines[0].pair for line in lines):
            raise _other_pair(self._files, lines, index)
        weights = self._weights
        positive, negative = (
            sum(w * getattr(line, side) for w, line in zip(weights, lines, strict=True))
            for side in ("positive", "negative")
        )
        if not math.isfinite(positive) or not math.isfinite(negative):
            return self._left_out("pairs without a score")
        if self._positive and positive <= negative:
            return self._left_out("pairs of which the teacher prefers the other document")
        texts = self._texts(lines[0].pair)
        if texts is None:
            return self._left_out("pairs with an unknown id or an empty text")
        query, *documents = texts
        return {"texts": {QUERY: query, DOCUMENT: documents}, "labels": [positive, negative]}

    def _texts(self, pair: tuple[str, ...]) -> tuple[str, ...] | None:
        texts: list[str | None] = list(pair)
        if not self._texts_inside:
            sides = (QUERY, DOCUMENT, DOCUMENT)
            entries = [self._tables[side].get(key) for side, key in zip(sides, pair, strict=True)]
            texts = [entry.content if entry else None for entry in entries]
        found = tuple(text for text in texts if text and text.strip())
        return found if len(found) == len(pair) else None

    def _left_out(self, reason: str) -> dict[str, Any] | None:
        self._dropped[reason] += 1
        count = self._dropped[reason]
        if count & (count - 1) == 0:  # 1, 2, 4, 8, ...: heard of early, and never a flood
            print_log(f"{self._files[0].path}: left out {count} {reason} so far", logger="current")
        return None

    def _require_alike(self) -> None:
        first, *others = self._files
        for other in others:
            if len(other) != len(first):
                raise UsageError(
                    "the teachers' files do not list the same pairs",
                    where=str(other.path),
                    expected=f"{len(first)} lines, as in {first.path}",
                    got=str(len(other)),
                )
        for index in np.unique(np.linspace(0, len(first) - 1, min(_ALIKE, len(first))).astype(int)) if others else ():
            lines = [_Line(file, int(index)) for file in self._files]
            if any(line.pair != lines[0].pair for line in lines):
                raise _other_pair(self._files, lines, int(index))


class _Line:
    """One parsed line: ``pair`` (query, relevant, other) as ids or texts, ``positive`` and ``negative`` scores.

    Raises:
        UsageError: If it has no five fields of which two are scores.
    """

    def __init__(self, file: Lines, number: int) -> None:
        fields = file[number].split("\t")
        first = len(fields) == 5 and all(map(_is_number, fields[:2]))
        last = len(fields) == 5 and all(map(_is_number, fields[3:]))
        if not first and not last:
            raise UsageError(
                "not a scored pair",
                where=file.where(number),
                expected="5 fields between tabs: two scores, then query, relevant and other document; or the scores last",
                got=repr(file[number])[:120],
            )
        # five numbers are ids with the scores first, as published
        scores, pair = (fields[:2], fields[2:]) if first else (fields[3:], fields[:3])
        self.positive, self.negative = map(float, scores)
        self.pair = tuple(pair)
        self.ids_only = all(len(part.split()) == 1 for part in pair)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _found(root: Path, name: str) -> Path:
    if found := find_beside(root, name):
        return found
    raise UsageError("ScoredPairs: no file of scores", expected=str(root / name), got="no such file")


def _queries(root: Path, split: str) -> Corpus:
    names = (f"queries.{split}.tsv", f"queries.{split}.jsonl", "queries.jsonl", "queries.tsv")
    return Corpus(find_file(root, *((name, f"{name}.gz") for name in names)))


def _other_pair(files: Sequence[Lines], lines: Sequence[_Line], index: int) -> UsageError:
    place = next(place for place, line in enumerate(lines) if line.pair != lines[0].pair)
    return UsageError(
        "the teachers' files do not list the same pairs",
        where=files[place].where(index),
        expected=f"{' '.join(lines[0].pair)[:80]}, as in {files[0].path}",
        got=" ".join(lines[place].pair)[:80],
    )


def _told(dropped: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in dropped.items())
