"""Sub-commands that plugins add."""

from __future__ import annotations

import importlib

from kdhub.cli.commands import COMMANDS
from kdhub.errors import KdhubError, PluginError, UsageError, near_matches
from kdhub.plugins import Switches, load_plugins
from kdhub.plugins.modules import install_missing


def run_plugin_command(name: str, argv: list[str], switches: Switches) -> int:
    """Run a plugin's command.

    Args:
        name: The command.
        argv: Its arguments.
        switches: Which plugins to load.

    Returns:
        Its exit code; 0 if it returns ``None``.

    Raises:
        UsageError: If no plugin has such a command.
        PluginError: If the command cannot be imported, or raises.
    """
    manager = load_plugins(switches)
    commands = {command.name: (row, command) for row in manager.plugins for command in row.commands}
    if name not in commands:
        known = (*COMMANDS, *commands)
        raise UsageError(
            f"no command {name!r}",
            expected=f"one of {', '.join(known)}",
            near=near_matches(name, known),
            fix="see `kdhub --help`",
        )
    from kdhub.registry import activate  # here: an unknown command needs no mmengine

    activate(manager)
    row, command = commands[name]
    source = row.source
    module, _, attribute = command.target.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise PluginError(
            f"command {name!r} cannot be imported from {command.target!r} ({type(error).__name__}: {error})",
            plugin=source.plugin,
            dist=source.dist,
            version=source.version,
            fix=install_missing(missing, row.package, source.dist, row.extras) if missing else None,
        ) from error
    try:
        code = function(argv)
    except Exception as error:
        from kdhub.engine.faults.plugin_code import plugin_fault  # here: a command that works may need no torch

        told = None if isinstance(error, KdhubError) else plugin_fault(error, {})
        if told is None:
            raise
        raise told from error
    return 0 if code is None else int(code)
