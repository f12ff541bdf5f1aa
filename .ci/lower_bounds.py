"""Resolve every package of this repository at the lowest versions it declares; a bound that cannot be met is a lie.

Nothing is installed. Without a package index in reach there is nothing to resolve against: the step is skipped with a line that
says so, but never in CI (CI=1). Usage: python .ci/lower_bounds.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib
from packaging.requirements import Requirement

PIP = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
ROOT = Path(__file__).resolve().parent.parent


def lowest(requirement: Requirement) -> str:
    """Turn ``name>=1.2,<2`` into ``name==1.2``; a requirement without a lower bound is an error."""
    for specifier in requirement.specifier:
        if specifier.operator in (">=", "=="):
            return f"{requirement.name}=={specifier.version}"
    raise SystemExit(f"lower bounds: {requirement} declares no lowest version -> add >=")


def pins(*projects: Path) -> list[str]:
    """Collect the lowest versions of several projects; where two declare a package, the higher floor counts."""
    from packaging.version import Version

    floors: dict[str, Version] = {}
    for project in projects:
        for line in tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]:
            requirement = Requirement(line)
            # this tree's own distributions are on no index
            if requirement.name.startswith("kdhub") or (requirement.marker and not requirement.marker.evaluate()):
                continue
            name, _, version = lowest(requirement).partition("==")
            floors[name] = max(floors.get(name, Version(version)), Version(version))
    return [f"{name}=={version}" for name, version in sorted(floors.items())]


def index_in_reach() -> bool:
    """Tell whether pip finds a package that every index has; what pip says is not shown."""
    command = [*PIP, "--no-deps", "--retries", "0", "--timeout", "10", "packaging"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def main() -> int:
    """Resolve the core alone, then the core with each plugin."""
    if os.environ.get("CI", "0").lower() in ("", "0", "false") and not index_in_reach():
        print("lower bounds: skipped, as pip reaches no package index; CI never skips it")
        return 0
    for projects in ((ROOT,), *((ROOT, plugin) for plugin in sorted((ROOT / "plugins").iterdir()))):
        wanted = pins(*projects)
        print(f"lower bounds of {' + '.join(project.name for project in projects)}: {' '.join(wanted)}", flush=True)
        done = subprocess.run([*PIP, "--use-feature=fast-deps", *wanted], check=False)
        if done.returncode:
            return done.returncode
    print("lower bounds: all resolve")
    return 0


if __name__ == "__main__":
    sys.exit(main())
