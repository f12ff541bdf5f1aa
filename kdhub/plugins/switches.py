"""Which plugins to load: read from the command line and the environment before any plugin is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdhub.errors import UsageError
from kdhub.plugins.names import BUILTIN


@dataclass(frozen=True, slots=True)
class Switches:
    """The user's choice of plugins.

    Attributes:
        no_plugins: Load the built-in plugin alone (``--no-plugins``).
        blocked: Names never to load (``-p no:NAME``, ``KDHUB_DISABLE_PLUGINS=a,b``). Wins over everything else.
        only: Names to which loading is restricted (``KDHUB_PLUGINS=a,b``; empty means none); ``None`` is no restriction.
        modules: Files or modules to load as one-off plugins, or installed plugins to load in spite of ``no_plugins`` and
            ``only`` (``-p NAME``).
        raise_errors: Raise a plugin's error instead of keeping it as a row (``KDHUB_PLUGIN_ERRORS=raise``).
        trace: Print each hook call to stderr (``KDHUB_TRACE_PLUGINS=1``).

    Raises:
        UsageError: If the built-in plugin is blocked.
    """

    no_plugins: bool = False
    blocked: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    modules: tuple[str, ...] = ()
    raise_errors: bool = False
    trace: bool = False

    def __post_init__(self) -> None:
        if BUILTIN in self.blocked:
            raise UsageError(
                f"the built-in plugin {BUILTIN!r} cannot be disabled",
                expected="the name of another plugin",
                fix="the distiller, taps and losses that every run needs are in it; --no-plugins loads it alone",
            )

    @classmethod
    def read(cls, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Switches, list[str]]:
        """Take the plugin switches out of a command line, and the rest from the environment.

        Args:
            argv: Arguments without the program's name. Those after ``--`` are left alone.
            environ: The environment, usually ``os.environ``.

        Returns:
            The switches, and the arguments that are not switches, in order.

        Raises:
            UsageError: If ``-p`` has no value, a variable has a value it cannot have, or the built-in is blocked.
        """
        no_plugins = False
        blocked = _names(environ.get("KDHUB_DISABLE_PLUGINS", ""))
        modules: list[str] = []
        remaining: list[str] = []
        arguments = iter(argv)
        for argument in arguments:
            if argument == "--":
                remaining += [argument, *arguments]
            elif argument == "--no-plugins":
                no_plugins = True
            elif argument == "-p":
                value = next(arguments, "")
                if value.removeprefix("no:") in ("", "--") or (value.startswith("-")):
                    raise UsageError("-p has no value", expected="NAME, no:NAME or a path to a .py file", got=value)
                if value.startswith("no:"):
                    blocked.append(value.removeprefix("no:"))
                else:
                    modules.append(value)
            else:
                remaining.append(argument)
        only = environ.get("KDHUB_PLUGINS")
        switches = cls(
            no_plugins=no_plugins,
            blocked=frozenset(blocked),
            only=None if only is None else frozenset(_names(only)),
            modules=tuple(dict.fromkeys(modules)),
            raise_errors=_flag(environ, "KDHUB_PLUGIN_ERRORS", on="raise"),
            trace=_flag(environ, "KDHUB_TRACE_PLUGINS", on="1"),
        )
        return switches, remaining

    def arguments(self) -> list[str]:
        """Return the switches as arguments of a command that is to be typed next."""
        named = (*(f"no:{name}" for name in sorted(self.blocked)), *self.modules)
        return [*(["--no-plugins"] if self.no_plugins else []), *(word for name in named for word in ("-p", name))]

    def why_disabled(self, name: str) -> str | None:
        """Return the switch that keeps plugin ``name`` from loading, or ``None`` if none does."""
        if name in self.blocked:
            return f"blocked by -p no:{name} or KDHUB_DISABLE_PLUGINS"
        if name in self.modules:
            return None
        if self.no_plugins:
            return "switched off by --no-plugins"
        if self.only is not None and name not in self.only:
            return "not among the names in KDHUB_PLUGINS"
        return None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _flag(environ: Mapping[str, str], variable: str, on: str) -> bool:
    value = environ.get(variable, "")
    if value not in ("", "0", on):
        raise UsageError(f"{variable} has an unknown value", expected=f"{on!r}, '0' or unset", got=repr(value))
    return value == on
