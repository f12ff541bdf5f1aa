"""The argument parser of a sub-command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from kdhub.errors import UsageError, near_matches


class Parser(argparse.ArgumentParser):
    """Raises its errors, so that all of them are told alike, and knows near matches of options.

    Args:
        command: The sub-command.
        text: Its help: a first line, then whatever explains it.
    """

    def __init__(self, command: str, text: str) -> None:
        super().__init__(
            prog=f"kdhub {command}",
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments.

        Raises:
            UsageError: For any that does not fit.
        """
        known, unknown = self.parse_known_args(arguments)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            raise UsageError(
                f"{self.prog}: unexpected argument {unknown[0]!r}",
                near=near_matches(unknown[0].partition("=")[0], options),
                fix=f"see `{self.prog} --help`",
            )
        return known

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with its usage."""
        raise UsageError(f"{self.prog}: {message}", fix=f"see `{self.prog} --help`")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, which every command with a list has."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs instead of a table for people")
