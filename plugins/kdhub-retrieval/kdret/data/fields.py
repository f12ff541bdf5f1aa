"""Reads single fields of a line: texts, identifiers and judgements. Each error names file and line."""

from __future__ import annotations

from typing import Any

from kdhub.api import UsageError, near_matches


def text_of(entry: dict[str, Any], field: str, where: str, default: str | None = None) -> str:
    """Return a field that must be text.

    Raises:
        UsageError: If it is missing without a default, or is no text.
    """
    value = entry.get(field, default)
    if not isinstance(value, str):
        raise _unusable(entry, field, where)
    return value


def id_of(entry: dict[str, Any], field: str, where: str) -> str:
    """Return a field that must be an identifier.

    Raises:
        UsageError: If it is missing or is no identifier.
    """
    found = as_id(entry.get(field))
    if found is None:
        raise _unusable(entry, field, where)
    return found


def as_id(value: Any) -> str | None:
    """Return an identifier as text, also if it was written as a whole number; ``None`` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def judgement(value: Any, where: str) -> int:
    """Return a relevance judgement.

    Raises:
        UsageError: If it is no whole number that fits into 32 bits, which measures count with.
    """
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not number.is_integer() or abs(number) >= 2**31:  # nor NaN nor infinite
        raise UsageError("no usable score", where=where, expected="a whole number", got=repr(value)[:80])
    return int(number)


def _unusable(entry: dict[str, Any], field: str, where: str) -> UsageError:
    what, expected = f"no usable {field!r}", "text"
    if field in entry:
        return UsageError(what, where=where, expected=expected, got=repr(entry[field])[:200])
    got = f"fields {', '.join(map(repr, entry))}"[:200]
    return UsageError(what, where=where, expected=expected, got=got, near=near_matches(field, entry))
