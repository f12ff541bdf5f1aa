"""Run the plugins of an earlier commit against the core of this checkout: what a user has who updates the core alone.

The plugins of the commit become wheels, which are installed into a folder of their own beside this core. Each must load, each of its
components must import, and each of its recipes must pass the check. Nothing outside a temporary folder is changed; the plugins'
dependencies are those of the running Python. One line a plugin; ends with 1 if one fails.

Usage: python .ci/previous_plugins.py REF [--only kdhub-generation ...]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# runs beside the wheels: what each plugin of the sites says, as JSON
PROBE = """
import contextlib, json, sys
from importlib.metadata import distributions
from pathlib import Path
from kdhub.api import check_config, init, load_config

def trial(what, act):
    try:
        with contextlib.redirect_stdout(sys.stderr):
            faults = act() or []
    except BaseException as error:
        faults = [f"{type(error).__name__}: {error}"]
    return [f"{what}: {' '.join(str(fault).split())[:300]}" for fault in faults]

def checked(recipe):
    return [finding.line() for finding in check_config(load_config(recipe), manager).errors]

manager, found = init(), {}
scopes = [one.name for own in distributions(path=sys.argv[1:]) for one in own.entry_points if one.group == "kdhub.plugins"]
for row in (one for one in manager.plugins if one.scope in scopes):
    if row.path and Path(sys.argv[1]) not in Path(row.path).resolve().parents:
        sys.exit(f"{row.scope} is that of {row.path}, and not the wheel's")
    faults = [] if row.status == "ok" else [f"{row.status}: {row.reason}"]
    for one in row.components:
        faults += trial(one.name, lambda: manager.find(f"{row.scope}.{one.name}", one.kind).load() and None)
    for one in row.recipes:
        faults += trial(f"recipe {one.name}", lambda: checked(f"{row.scope}:{one.name}"))
    found[row.scope] = {"components": len(row.components), "recipes": len(row.recipes), "faults": faults}
print(json.dumps(found))
"""


def plugins_of(ref: str, folder: Path) -> list[Path]:
    """Unpack the plugins of a commit.

    Args:
        ref: Anything that git takes for a commit.
        folder: Where to.

    Returns:
        The folder of each plugin.

    Raises:
        SystemExit: If git knows no such commit, or it has no plugins.
    """
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", ref, "plugins"], capture_output=True, check=False)
    if packed.returncode:
        raise SystemExit(f"previous plugins: {packed.stderr.decode().strip()} -> name a commit of this repository")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return sorted(path.parent for path in folder.glob("plugins/*/pyproject.toml"))


def install(projects: Sequence[Path], folder: Path) -> Path:
    """Build a wheel of each project and install all of them, without dependencies, below a folder.

    Returns:
        The folder to put on the import path.
    """
    for project in projects:
        _quietly("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", project)
    site = folder / "site"
    wheels = sorted((folder / "dist").glob("*.whl"))
    _quietly("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, *wheels)
    return site


def probe(site: Path) -> dict[str, dict[str, object]]:
    """Say of each plugin in a site how many components and recipes it has, and what is wrong with them beside this core."""
    environ = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROBE, str(site.resolve())]
    done = subprocess.run(command, cwd=site.parent, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"previous plugins: the core did not even list them\n{done.stderr}")
    found: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Try the plugins of a commit; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ref", help="a commit, tag or branch")
    parser.add_argument("--only", nargs="+", metavar="PLUGIN", help="folders below plugins/ (default all)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="previous-plugins-") as name:
        projects = [one for one in plugins_of(args.ref, Path(name)) if not args.only or one.name in args.only]
        if not projects:
            raise SystemExit(f"previous plugins: none of these in {args.ref} -> folders such as kdhub-generation")
        found = probe(install(projects, Path(name)))
    if len(found) != len(projects):
        print(f"{len(projects)} plugins were built, and the core lists {', '.join(found) or 'none'}")
    for scope, told in found.items():
        print(
            f"{scope:8} {told['components']} components, {told['recipes']} recipes:", "ok" if not told["faults"] else ""
        )
        print(*(f"    {fault}" for fault in told["faults"]), sep="\n", end="\n" if told["faults"] else "")  # type: ignore[attr-defined]
    return int(len(found) != len(projects) or any(told["faults"] for told in found.values()))


def _quietly(*words: object) -> None:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"previous plugins: {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
