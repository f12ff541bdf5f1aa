"""``kdhub``: finds the sub-command, and tells errors in one line."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

from kdhub.cli.commands import COMMANDS
from kdhub.cli.help import HELP
from kdhub.errors import KdhubError, PluginError, ToldElsewhereError, UsageError, near_matches

_ANSWERS = ("-h", "--help", "--version")
_OPTIONS = (*_ANSWERS, "--no-plugins", "-p")


def entry() -> None:
    """Run as the console script."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; ``None`` takes the process's.

    Returns:
        The exit code: 0; 1 if what was looked at is not in order; 2 for a mistake of usage, a broken plugin or Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rather than a traceback where it cannot write a text
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # so that a reader that has gone is noticed here and not when Python ends
        return code
    except ToldElsewhereError:
        return 2
    except KdhubError as error:
        blamed = isinstance(error, PluginError) or not isinstance(error.__cause__, KdhubError | None)
        if blamed and os.environ.get("KDHUB_PLUGIN_ERRORS") == "raise":
            raise
        print(f"kdhub: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kdhub: interrupted", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # whoever read our output has seen enough; Python would complain once more when it flushes on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: list[str]) -> int:
    if not argv or argv == ["help"] or argv[0] in _ANSWERS:
        return _answer(argv)  # without the switches, whose import would cost what help must not
    from kdhub.plugins.switches import Switches

    switches, words = Switches.read(argv, os.environ)
    if not words:
        raise UsageError("no command", expected=f"one of {', '.join(COMMANDS)}", fix="see `kdhub --help`")
    if words == ["help"] or words[0] in _ANSWERS:
        return _answer(words)
    if words[0] == "help":
        words = [*words[1:], "--help"]
    name, arguments = words[0], words[1:]
    if name.startswith("-"):
        raise UsageError(
            f"unknown option {name!r} before the command",
            near=near_matches(name.partition("=")[0], _OPTIONS),
            fix="write options of a command after it: kdhub COMMAND OPTION",
        )
    if name in COMMANDS:
        from kdhub.cli.parser import Parser

        module = importlib.import_module(f"kdhub.cli.{COMMANDS[name].module}")
        parser = Parser(name, module.__doc__ or "")
        module.add_arguments(parser)
        args = parser.parse(arguments)
        args.words = argv
        return int(module.run(args, switches))
    from kdhub.cli.plugin_commands import run_plugin_command

    return run_plugin_command(name, arguments, switches)


def _answer(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"kdhub {version('kdhub')}")
    else:
        print(HELP)
    return 0
