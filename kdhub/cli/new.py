"""Write a new plugin: a package with a loss, a tap, a recipe that trains in a minute, and tests.

It works as it is written, so that you change one thing at a time. Its data are made up and need no download.

Examples:
  kdhub new my-method --task classification
  cd my-method && pip install -e '.[test]' && pytest
  kdhub train my_method:student --alone
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from kdhub.errors import UsageError
from kdhub.plugins import Switches
from kdhub.scaffold.tasks import TASKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", help="such as my-method; package and scope become my_method")
    tasks = "; ".join(f"{name}: {task.summary}" for name, task in TASKS.items())
    parser.add_argument("--task", metavar="TASK", default="classification", help=f"what the student does ({tasks})")
    parser.add_argument("--into", metavar="FOLDER", default=".", help="where the plugin's folder goes; by default here")


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Write the plugin and say what comes next."""
    from kdhub.scaffold.write import write_plugin

    scope = args.name.replace("-", "_")
    if scope.isidentifier() and find_spec(scope) is not None:
        raise UsageError(f"a package {scope!r} is installed already", fix=f"take another name, such as {args.name}-kd")
    folder = write_plugin(args.name, args.task, Path(args.into))
    print(f"wrote {folder}\n")
    print(f"  cd {folder}")
    print("  pip install -e '.[test]'")
    print("  pytest")
    alone = " --alone" if TASKS[args.task].ground == "objective" else ""  # a generator alone has no loss
    print(f"  kdhub train {scope}:student{alone}     # trains the teacher first; the report stands beside the run")
    return 0
