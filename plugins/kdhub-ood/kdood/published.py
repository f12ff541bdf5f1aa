"""Readers of collections in the layout in which others publish them: SST-2, ROSTD and 20 Newsgroups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, choice, data_places, read_lines, require
from kdlm.tokenizer import found_file
from kdood.data import OODTexts, Row, held_back, part_of, with_classes

NEWSGROUPS = {
    "comp": ("comp.",),
    "rec": ("rec.",),
    "sci": ("sci.",),
    "misc": ("misc.",),
    "pol": ("talk.politics.",),
    "rel": ("talk.religion.", "alt.atheism", "soc.religion."),
}
"""The six classes that the MLKD paper makes of the twenty groups, by how their names begin."""
_ATTRIBUTION = re.compile(r".*\b(writes|wrote|says|said):\s*$|^In article <.*", re.IGNORECASE)


class SST(OODTexts):
    """Sentences of film reviews within the distribution, in GLUE's layout of SST-2; what is out of it comes from another file.

    Args:
        split: ``'train'``, ``'val'`` (every eighth line of ``train.tsv``, which then lacks it) or ``'test'``: ``dev.tsv``, as the labels of
            GLUE's own test are not public.
        tokenizer: A folder or a name on the hub.
        ood: Text file with texts out of distribution, one a line; ``None`` for none. The MLKD paper takes 500 each of SNLI, RTE,
            20 Newsgroups and Multi30K.
        root: Folder with ``train.tsv`` and ``dev.tsv``, whose columns ``sentence`` and ``label`` have a heading.
        **options: As for `OODTexts`; ``part`` is ``'in'`` for training by default, else ``'both'``.

    Raises:
        UsageError: For an unknown split, and a line without these columns, by its number.
    """

    def __init__(
        self, split: str, tokenizer: str, ood: str | None = None, root: str = "data/SST-2", **options: Any
    ) -> None:
        require("SST", choice(("train", "val", "test")), split=split)
        file = found_file(Path(root, "dev.tsv" if split == "test" else "train.tsv"), "SST.root")
        lines = _columns(file, 2)
        _, heading = next(lines, ("", []))
        if heading[:2] != ["sentence", "label"]:
            raise UsageError("no table of SST-2", where=f"{file}:1", expected="sentence, label", got=", ".join(heading))
        rows = held_back([Row(text, label, False) for _, (text, label, *_) in lines], split, 8)
        if ood is not None:
            rows += [Row(text, "", True) for _, text in read_lines(found_file(ood, "SST.ood"))]
        super().__init__(rows, tokenizer, source=f"SST-2 {split}", **part_of(split, options))


class ROSTD(OODTexts):
    """Requests about alarms, reminders and weather, and requests about anything else.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        tokenizer: A folder or a name on the hub.
        root: Folder ``code/data/fbrelease/unsup`` of the release, with ``OODRemovedtrain.tsv``, ``eval.tsv`` and ``test.tsv``. Columns:
            intent, slots, request; the intent of texts out of distribution is ``outOfDomain``.
        **options: As for `OODTexts`; ``part`` is ``'in'`` for training by default, else ``'both'``. The labels are the intents.

    Raises:
        UsageError: For an unknown split, and a line without these columns, by its number.
    """

    def __init__(self, split: str, tokenizer: str, root: str = "data/rostd", **options: Any) -> None:
        require("ROSTD", choice(("train", "val", "test")), split=split)
        name = {"train": "OODRemovedtrain", "val": "eval", "test": "test"}[split]
        file = found_file(Path(root, f"{name}.tsv"), "ROSTD.root")
        rows = [Row(text, intent, intent == "outOfDomain") for _, (intent, _, text, *_) in _columns(file, 3)]
        super().__init__(rows, tokenizer, source=f"ROSTD {split}", **part_of(split, options))


class Newsgroups(OODTexts):
    """Posts of twenty newsgroups in six classes, some of which are within the distribution.

    Header, signature, quoted lines and the line that introduces them are left out, and what is left becomes one line: they name the group.

    Args:
        split: ``'train'``, ``'val'`` (every eighth post of the training part, which then lacks it) or ``'test'``.
        tokenizer: A folder or a name on the hub.
        classes: Those within the distribution, of ``comp``, ``rec``, ``sci``, ``misc``, ``pol`` and ``rel``; ``None``: all.
        root: Folder with ``20news-bydate-train`` and ``20news-bydate-test``, in these a folder for each group with a file for each post.
        **options: As for `OODTexts`; ``part`` is ``'in'`` for training by default, else ``'both'``.

    Raises:
        UsageError: For an unknown split or class, and a folder without groups.
    """

    def __init__(
        self,
        split: str,
        tokenizer: str,
        classes: Sequence[str] | None = None,
        root: str = "data/20news-bydate",
        **options: Any,
    ) -> None:
        require("Newsgroups", choice(("train", "val", "test")), split=split)
        name = f"20news-bydate-{'test' if split == 'test' else 'train'}"
        places = [place / name for place in data_places(root)]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise UsageError(f"no folder {name}", where="Newsgroups.root", got=str(root))
        found = [{"text": text, "label": label} for label, text in _posts(folder)]
        rows = with_classes("Newsgroups.classes", found, "label", classes)
        super().__init__(
            held_back(rows, split, 8), tokenizer, source=f"20 Newsgroups {split}", **part_of(split, options)
        )


def _columns(file: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    for number, line in read_lines(file):
        place, columns = f"{file}:{number}", line.split("\t")
        if not line.strip():
            continue
        if len(columns) < count:
            raise UsageError("too few columns", where=place, expected=f"{count}, between tabs", got=str(len(columns)))
        yield place, columns


def _posts(folder: Path) -> Iterator[tuple[str, str]]:
    groups = sorted(one for one in folder.iterdir() if one.is_dir())
    if not groups:
        raise UsageError("no newsgroups", where=str(folder), expected="a folder for each, such as comp.graphics")
    for group in groups:
        label = next((name for name, starts in NEWSGROUPS.items() if group.name.startswith(starts)), None)
        if label is None:
            raise UsageError(
                f"unknown newsgroup {group.name!r}", where=str(folder), expected="the twenty of the release"
            )
        for file in sorted(group.iterdir(), key=lambda one: (len(one.name), one.name)):
            yield label, body(file.read_text(encoding="latin-1"))  # posts of 1993 are no UTF-8


def body(post: str) -> str:
    """Return what the author of a post wrote, as one line; empty if that is nothing."""
    lines = post.replace("\r\n", "\n").partition("\n\n")[2].split("\n")
    signature = next((place for place, line in enumerate(lines) if line.rstrip() in ("--", "---")), len(lines))
    kept = [
        line for line in lines[:signature] if not line.lstrip().startswith((">", "|")) and not _ATTRIBUTION.match(line)
    ]
    return " ".join(" ".join(kept).split())
