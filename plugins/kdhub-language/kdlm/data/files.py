"""Texts out of files: one a line, or JSON objects with text and label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdhub.api import UsageError, near_matches, read_jsonl, read_lines
from kdlm.data.texts import Texts
from kdlm.tokenizer import found_file


class TextLines(Texts):
    """A text file, one text a line, for a language model.

    Args:
        path: A file in UTF-8, plain or gzipped; a byte order mark and Windows' line ends are accepted.
        tokenizer: As for `Texts`.
        first: How many texts to take; ``None`` for all.
        **options: ``max_length``, ``too_long`` and ``end_of_text``, as for `Texts`.

    Raises:
        UsageError: For what `Texts` refuses, a file that does not exist, and a line that is no UTF-8, by its number.
    """

    def __init__(self, path: str, tokenizer: str, first: int | None = None, **options: Any) -> None:
        texts = [line for _, line in read_lines(found_file(path, f"{type(self).__name__}.path"))][:first]
        super().__init__(texts, tokenizer, source=str(path), **options)


class TextTable(Texts):
    """Lines of JSON with a text each, and a label if a classifier is trained.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file.
        tokenizer: As for `Texts`.
        text: Field with the text.
        pair: Field with the second text of a pair; ``None`` for single texts.
        label: Field with the class, a name or a number; ``None`` for a language model.
        classes: Names of the classes in order; ``None`` takes the sorted ones that occur. Give them where a file may lack some.
        where: Field to value, or list of values: only such lines are taken.
        first: How many texts to take; ``None`` for all.
        **options: ``max_length``, ``too_long`` and ``end_of_text``, as for `Texts`.

    Raises:
        UsageError: For what `Texts` refuses; for a line without a field, with another type in it, or with an unknown class, by
            its number.
    """

    def __init__(
        self,
        path: str,
        tokenizer: str,
        text: str = "text",
        pair: str | None = None,
        label: str | None = None,
        classes: Sequence[Any] | None = None,
        where: Mapping[str, Any] | None = None,
        first: int | None = None,
        **options: Any,
    ) -> None:
        file = found_file(path, f"{type(self).__name__}.path")
        rows = list(read_rows(file, where))[:first]
        texts: list[Any] = [_text(row, text, place) for place, row in rows]
        if pair is not None:
            texts = [(one, _text(row, pair, place)) for one, (place, row) in zip(texts, rows, strict=True)]
        if label is None:
            super().__init__(texts, tokenizer, source=str(path), **options)
            return
        found = [(place, _field(row, label, place)) for place, row in rows]
        names = list(classes) if classes is not None else sorted({value for _, value in found}, key=str)
        labels = [_class(value, names, place) for place, value in found]
        super().__init__(texts, tokenizer, labels, [str(name) for name in names], source=str(path), **options)


def read_rows(file: Path, where: Mapping[str, Any] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Read the lines of JSON of a file that are wanted.

    Args:
        file: A ``.jsonl`` or ``.jsonl.gz`` file.
        where: Field to value, or list of values, that a line must have.

    Returns:
        Place, as errors name it, and object.
    """
    wanted = {name: value if isinstance(value, list | tuple) else [value] for name, value in (where or {}).items()}
    rows = [(f"{file}:{number}", row) for number, row in read_jsonl(file)]
    return [(place, row) for place, row in rows if all(_field(row, name, place) in wanted[name] for name in wanted)]


def _field(row: Mapping[str, Any], name: str, place: str) -> Any:
    if name not in row:
        raise UsageError(
            f"no field {name!r}", where=place, expected="one of " + ", ".join(row), near=near_matches(name, row)
        )
    return row[name]


def _text(row: Mapping[str, Any], name: str, place: str) -> str:
    value = _field(row, name, place)
    if not isinstance(value, str):
        raise UsageError(f"{name!r} is no text", where=place, got=repr(value)[:80])
    return value


def _class(value: Any, names: list[Any], place: str) -> int:
    if value not in names:
        raise UsageError(
            f"unknown class {value!r}",
            where=place,
            expected="one of " + ", ".join(map(str, names[:20])),
            near=near_matches(str(value), map(str, names)),
        )
    return names.index(value)
