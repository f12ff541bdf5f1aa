"""What ``--space`` says: key paths of a config, each with a range or with choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kdhub.config.read.options import parse_options
from kdhub.errors import UsageError

WHERE = "--space"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER})(?::(\w*))?")
_FORMS = "KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A,B,C"


@dataclass(frozen=True, slots=True)
class Dimension:
    """One key path and what it may be.

    Attributes:
        path: Key path in the config.
        text: What was typed for it.
        low: Least value of a range; ``None`` for choices.
        high: Greatest value of a range.
        log: Whether a range is searched by its logarithm.
        choices: The values, if it is no range.
    """

    path: str
    text: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def first(self) -> Any:
        """A value that belongs to it."""
        return self.choices[0] if self.choices else self.low

    def suggest(self, trial: Any) -> Any:
        """Ask a trial of Optuna for a value. Whole bounds give whole numbers."""
        if self.choices:
            # Optuna stores numbers and texts; a list is stored as it is written
            stored = {_stored(one): one for one in self.choices}
            return stored[trial.suggest_categorical(self.path, list(stored))]
        ask: Callable[..., Any] = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return ask(self.path, self.low, self.high, log=self.log)

    def written(self, stored: Any) -> str:
        """Write what Optuna stored as ``--cfg-options`` takes it."""
        listed = any(isinstance(one, list | tuple | dict) and repr(one) == stored for one in self.choices)
        return str(stored).replace(" ", "").replace("'", "") if listed else str(stored)


def parse_space(items: Sequence[str]) -> tuple[Dimension, ...]:
    """Parse ``--space``.

    Args:
        items: ``KEY=LOW:HIGH``, ``KEY=LOW:HIGH:log`` or ``KEY=A,B,C``. Two whole bounds mean whole numbers.

    Raises:
        UsageError: For an item of another form, a range without width, a logarithm of what is not positive, a single choice,
            a key that is there twice, or one of a predecessor.
    """
    found: dict[str, Dimension] = {}
    for item in items:
        path, equals, text = item.partition("=")
        where = f"{WHERE} {path}" if equals and path else WHERE
        if not equals or not path or not text:
            raise UsageError("not a dimension", where=where, expected=_FORMS, got=repr(item))
        if ":" in path:
            raise UsageError(
                "the key belongs to a predecessor, which all trials share",
                where=where,
                fix="tune the predecessor's own config first",
            )
        if path in found:
            raise UsageError("the key is there twice", where=where, got=f"{found[path].text} and {text}")
        match = _RANGE.fullmatch(text)
        found[path] = _range(path, text, match, where) if match else _choice(path, text, where)
    if not found:
        raise UsageError("there is nothing to tune", where=WHERE, expected=_FORMS)
    return tuple(found.values())


def _range(path: str, text: str, match: re.Match[str], where: str) -> Dimension:
    scale = match[3]
    if scale not in (None, "log"):
        raise UsageError(f"unknown scale {scale!r}", where=where, expected="log, or none", got=text)
    whole = all(re.fullmatch(r"[-+]?\d+", bound) for bound in match.group(1, 2))
    low, high = (int(bound) if whole else float(bound) for bound in match.group(1, 2))
    if low >= high:
        raise UsageError("the range is empty", where=where, expected="the lower bound first", got=text)
    if scale and low <= 0:
        raise UsageError("a logarithmic range begins above 0", where=where, got=text)
    return Dimension(path, text, low, high, bool(scale))


def _choice(path: str, text: str, where: str) -> Dimension:
    values = parse_options([f"{path}={text}"])[path]
    if not isinstance(values, list | tuple) or len(values) < 2:
        raise UsageError("neither a range nor several choices", where=where, expected=_FORMS, got=text)
    return Dimension(path, text, choices=tuple(values))


def _stored(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
