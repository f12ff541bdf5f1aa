"""The core's sub-commands: names and one line each, so that help imports none of them."""

from __future__ import annotations

from typing import NamedTuple


class BuiltIn(NamedTuple):
    """One sub-command.

    Attributes:
        summary: One line of ``kdhub --help``.
        module: Module in `kdhub.cli` with ``add_arguments(parser)`` and ``run(args, switches) -> int``; its docstring is
            the command's help.
    """

    summary: str
    module: str


COMMANDS = {
    "list": BuiltIn("list components by kind, recipes and commands", "list"),
    "info": BuiltIn("explain one component: signature, inputs, paper, how to write it in a config", "info"),
    "plugins": BuiltIn("list plugins and what is wrong with those that do not load", "plugins"),
    "check": BuiltIn("check a config whole, before anything is built", "check"),
    "probe": BuiltIn("show what can be tapped: module paths and shapes of student and teacher", "probe"),
    "cache": BuiltIn("store a teacher's answers on disk, for training without running it", "cache"),
    "train": BuiltIn("train from a config or a plugin's recipe", "train"),
    "test": BuiltIn("evaluate a checkpoint", "test"),
    "report": BuiltIn("write report.html of a run again, or lay several runs side by side", "report"),
    "tune": BuiltIn("search weights, temperatures and learning rates on validation data", "tune"),
    "new": BuiltIn("write a new plugin, with a loss, a recipe and tests", "new"),
    "doctor": BuiltIn("look at the installation", "doctor"),
}
