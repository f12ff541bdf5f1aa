"""The errors kdhub raises on purpose, and how each reads.

``UsageError`` is the user's to fix: the command line prints it as one line and exits with 2. ``PluginError`` is a
plugin author's to fix: it names the distribution. Anything else is a defect of kdhub and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def near_matches(word: str, choices: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Return the choices that a typist of ``word`` most likely meant, best first."""
    return tuple(difflib.get_close_matches(word, sorted(set(choices)), n=limit, cutoff=0.6))


_LETTERS = 2
"""By how many a mistyped name may differ: ``train_dataloder`` does by one, the helper ``train_dataset`` by more."""


def slip_of(word: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of which ``word`` is almost certainly a typing error, best first.

    Stricter than `near_matches`, for where an unknown name may well be meant as it is.
    """
    return tuple(name for name in near_matches(word, names) if _letters_apart(word, name) <= _LETTERS)


def _letters_apart(one: str, other: str) -> int:
    changes = difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in changes if tag != "equal")


def did_you_mean(near: Iterable[str]) -> str:
    """Ask for the nearest names; empty if there are none."""
    meant = " or ".join(map(repr, near))
    return f"did you mean {meant}?" if meant else ""


def in_short(error: BaseException) -> str:
    """Return the class of an error and what it says, on one line and without a long tail."""
    said = str(error)
    if isinstance(error, KeyError) and " " in said:  # it quotes a sentence as it does a key
        said = str(error.args[0])
    said = " ".join(said.split())[:300]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def printable(text: str) -> str:
    r"""Write what a terminal would obey or hide, such as control characters and bidirectional overrides, as ``\x1b``."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class KdhubError(Exception):
    """Base of every error that kdhub raises on purpose."""


class UsageError(KdhubError):
    """A mistake the user can fix; reads as one line that says what, where, expected, got and what to do.

    Args:
        what: What is wrong, as a clause ("unknown key 'wieght'").
        where: File, and key path or line number within it.
        expected: What would have been accepted.
        got: What was found instead.
        near: Nearest existing names, best first.
        fix: What to type or change next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        near: Iterable[str] = (),
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.near = tuple(near)
        self.fix = fix
        super().__init__(self._line())

    def _line(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        facts = [f"{name} {value}" for name, value in (("expected", self.expected), ("got", self.got)) if value]
        if facts:
            text += f" ({', '.join(facts)})"
        if self.near:
            text += f"; {did_you_mean(self.near)}"
        if self.fix:
            text += f" -> {self.fix}"
        return printable(" ".join(text.split()))

    def __str__(self) -> str:
        return str(self.args[0])

    def replace_fix(self, fix: str) -> None:
        """Change what to do about it, for who knows more than the code that raised it."""
        self.fix = fix
        self.args = (self._line(),)

    def at(self, where: str) -> UsageError:
        """Return the same error with a place."""
        return type(self)(self.what, where=where, expected=self.expected, got=self.got, near=self.near, fix=self.fix)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Give a place to a `UsageError` from code that cannot know in which part of a config it runs."""
    try:
        yield
    except UsageError as error:
        if error.where is not None:
            raise
        raise error.at(where) from error


class ToldElsewhereError(UsageError):
    """The main process of a distributed run reports this mistake; the others end without a word."""


class UnknownComponentError(UsageError, KeyError):
    """A ``type='scope.Name'`` that cannot be used here; a ``KeyError`` because mmengine raises one for unknown types."""

    __str__ = UsageError.__str__


class GuardError(UsageError):
    """A guard stopped training that would have gone wrong unnoticed; the text says how to silence the guard."""


class PluginError(KdhubError):
    """A plugin broke its side of the contract, or one of its modules cannot be imported.

    Args:
        what: What went wrong, naming hook, target or module.
        plugin: Plugin name, which is its config scope.
        dist: Distribution that provides the plugin.
        version: Version of that distribution.
        fix: What the user or the author can do.
    """

    def __init__(self, what: str, *, plugin: str, dist: str = "", version: str = "", fix: str | None = None) -> None:
        self.what = what
        self.plugin = plugin
        self.dist = dist
        self.version = version
        self.fix = fix
        source = f"{dist} {version}".strip()
        text = f"plugin {plugin!r}" + (f" ({source})" if source else "") + f": {what}"
        super().__init__(" ".join((text + (f" -> {fix}" if fix else "")).split()))
