"""Texts within and out of distribution: pairs of files, and readers of CLINC150, AG News and Snips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from kdhub.api import UsageError, choice, near_matches, read_jsonl, read_lines, require
from kdlm.data.texts import Texts
from kdlm.tokenizer import found_file

PARTS = ("in", "out", "both")


class Row(NamedTuple):
    """One text of a collection.

    Attributes:
        text: The text.
        label: Name of its class; empty if it has none.
        ood: Whether it is out of distribution.
    """

    text: str
    label: str
    ood: bool


class OODTexts(Texts):
    """Texts that know whether they are out of distribution; the base of the data sets of kdood.

    A sample has ``ood``, 0 or 1, beside what `kdlm.Texts` gives. Texts that stand on both sides word for word are named by their number.

    Args:
        rows: The texts.
        tokenizer: A folder or a name on the hub.
        part: ``'in'``: those within the distribution, which alone may train anything; ``'out'``; ``'both'``.
        labelled: Whether the classes of the texts are labels, for a classifier; texts out of distribution then have label -100, which
            cross-entropy leaves out. Otherwise the data are a language model's.
        source: What the texts are, for messages.
        **options: ``max_length``, ``too_long`` and ``end_of_text``, as for `kdlm.Texts`.

    Raises:
        UsageError: For what `kdlm.Texts` refuses.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        tokenizer: str,
        part: str = "both",
        labelled: bool = False,
        source: str = "texts",
        **options: Any,
    ) -> None:
        require(type(self).__name__, choice(PARTS), part=part)
        inside = {row.text.strip() for row in rows if not row.ood}
        twice = sum(row.ood and row.text.strip() in inside for row in rows)
        if twice:
            message = f"{source}: {twice} texts out of distribution stand among those within, word for word"
            print_log(f"{message}: no score can tell them apart", "current", logging.WARNING)
        chosen = [row for row in rows if part == "both" or row.ood == (part == "out")]
        classes = sorted({row.label for row in rows if not row.ood}) if labelled else []
        places = {name: place for place, name in enumerate(classes)}
        labels = [-100 if row.ood else places[row.label] for row in chosen] if labelled else None
        super().__init__(
            [row.text for row in chosen],
            tokenizer,
            labels,
            classes,
            fields={"ood": [int(row.ood) for row in chosen]},
            source=source,
            **options,
        )


class OODLines(OODTexts):
    """Two text files, one text a line: one within the distribution, one out of it.

    Args:
        path: Texts within; ``None`` for none.
        tokenizer: A folder or a name on the hub.
        ood: Texts out of distribution; ``None`` for none.
        **options: As for `OODTexts`.

    Raises:
        UsageError: For what `OODTexts` refuses, and a line that is no UTF-8, by its number.
    """

    def __init__(self, path: str | None, tokenizer: str, ood: str | None = None, **options: Any) -> None:
        rows = []
        for name, out in ((path, False), (ood, True)):
            if name is not None:
                file = found_file(name, f"{type(self).__name__}.{'ood' if out else 'path'}")
                rows += [Row(text, "", out) for _, text in read_lines(file)]
        super().__init__(rows, tokenizer, source=f"{path}, {ood}", **options)


class CLINC150(OODTexts):
    """150 intents of requests to an assistant, and requests that have none of them.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        tokenizer: A folder or a name on the hub.
        root: Folder with ``train.jsonl.gz`` and so on, each line with ``text``, ``intent`` and ``domain``.
        domains: Domains that are within the distribution; intents of all others are out of it, near ones. ``None``: all ten.
        out_of_scope: Whether the requests of no intent are out of distribution, or left out.
        **options: As for `OODTexts`; ``part`` is ``'in'`` for training by default, else ``'both'``. The labels are the intents.

    Raises:
        UsageError: For an unknown split or domain.
    """

    def __init__(
        self,
        split: str,
        tokenizer: str,
        root: str = "data/clinc150",
        domains: Sequence[str] | None = None,
        out_of_scope: bool = True,
        **options: Any,
    ) -> None:
        require("CLINC150", choice(("train", "val", "test")), split=split)
        found = [row for _, row in read_jsonl(found_file(Path(root, f"{split}.jsonl.gz"), "CLINC150.root"))]
        _require_names("CLINC150.domains", domains, {row["domain"] for row in found} - {"oos"})
        rows = [
            Row(
                row["text"],
                row["intent"],
                row["intent"] == "oos" or (domains is not None and row["domain"] not in domains),
            )
            for row in found
            if out_of_scope or row["intent"] != "oos"
        ]
        super().__init__(rows, tokenizer, source=f"CLINC150 {split}", **part_of(split, options))


class AGNews(OODTexts):
    """News of four classes, of which some are within the distribution.

    Args:
        split: ``'train'``, ``'val'`` (every eighth line of the training file, which then lacks it) or ``'test'``.
        tokenizer: A folder or a name on the hub.
        classes: Those within the distribution, such as ``['World']``; ``None``: all four.
        root: Folder with ``train.jsonl.gz`` and ``test.jsonl.gz``, each line with ``text`` and ``label``.
        **options: As for `OODTexts`; ``part`` is ``'in'`` for training by default, else ``'both'``.

    Raises:
        UsageError: For an unknown split or class.
    """

    def __init__(
        self,
        split: str,
        tokenizer: str,
        classes: Sequence[str] | None = None,
        root: str = "data/ag_news",
        **options: Any,
    ) -> None:
        require("AGNews", choice(("train", "val", "test")), split=split)
        file = found_file(Path(root, f"{'test' if split == 'test' else 'train'}.jsonl.gz"), "AGNews.root")
        rows = with_classes("AGNews.classes", [row for _, row in read_jsonl(file)], "label", classes)
        super().__init__(held_back(rows, split, 8), tokenizer, source=f"AG News {split}", **part_of(split, options))


class Snips(OODTexts):
    """Requests of seven intents, as a small intent set, or as text that is out of another one's distribution.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``: of each five lines three, one and one.
        tokenizer: A folder or a name on the hub.
        classes: Intents within the distribution; ``None``: all seven; an empty list: none.
        root: Folder with ``utterances.jsonl.gz``, each line with ``text`` and ``intent``.
        **options: As for `OODTexts`; ``part`` is ``'in'`` for training by default, else ``'both'``.

    Raises:
        UsageError: For an unknown split or intent.
    """

    def __init__(
        self,
        split: str,
        tokenizer: str,
        classes: Sequence[str] | None = None,
        root: str = "data/snips",
        **options: Any,
    ) -> None:
        require("Snips", choice(("train", "val", "test")), split=split)
        found = [row for _, row in read_jsonl(found_file(Path(root, "utterances.jsonl.gz"), "Snips.root"))]
        rows = with_classes("Snips.classes", found, "intent", classes)
        wanted = {"train": (0, 1, 2), "val": (3,), "test": (4,)}[split]
        rows = [row for number, row in enumerate(rows) if number % 5 in wanted]
        super().__init__(rows, tokenizer, source=f"Snips {split}", **part_of(split, options))


def with_classes(where: str, rows: Sequence[Any], label: str, classes: Sequence[str] | None) -> list[Row]:
    """Make rows of dicts with ``text`` and a label; those of other classes than the given ones are out of distribution.

    Raises:
        UsageError: For a class that no row has.
    """
    _require_names(where, classes, {row[label] for row in rows})
    return [Row(row["text"], row[label], classes is not None and row[label] not in classes) for row in rows]


def held_back(rows: list[Row], split: str, every: int) -> list[Row]:
    """Take one row of so many for ``'val'``, the others for ``'train'``, and all for ``'test'``."""
    if split == "test":
        return rows
    return [row for number, row in enumerate(rows) if (number % every == 0) == (split == "val")]


def part_of(split: str, options: dict[str, Any]) -> dict[str, Any]:
    """Add the part to options of `OODTexts` that have none: only texts within the distribution train."""
    return {"part": "in" if split == "train" else "both"} | options


def _require_names(where: str, names: Sequence[str] | None, known: set[str]) -> None:
    for name in names or ():
        if name not in known:
            raise UsageError(
                f"unknown {name!r}", where=where, expected=", ".join(sorted(known)), near=near_matches(name, known)
            )
