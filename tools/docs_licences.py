"""The page of the licences of what kdhub and its plugins install, from the metadata of the installed packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
_LONG = 60
"""Some packages keep the whole text of their licence in the field for its name."""


def licences() -> str:
    """Return the page: each direct dependency, its licence, and which of kdhub's distributions ask for it."""
    asked: dict[str, list[str]] = {}
    for project in (ROOT, *sorted(ROOT.glob("plugins/*"))):
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        groups = {"": about["dependencies"], **about.get("optional-dependencies", {})}
        for extra, lines in groups.items():
            who = f"{about['name']}[{extra}]" if extra else about["name"]
            for name in (Requirement(line).name.lower().replace("_", "-") for line in lines):
                if not name.startswith("kdhub") and who not in asked.setdefault(name, []):
                    asked[name].append(who)
    return "\n".join(
        [
            "# Licences",
            "",
            "What kdhub's distributions ask for by name, and under which licence each declares itself. kdhub itself is Apache-2.0. Weights and data have licences",
            "of their own: see the page of each method.",
            "",
            "| package | licence | asked for by |",
            "|---|---|---|",
            *(f"| {name} | {_licence(name)} | {', '.join(who)} |" for name, who in sorted(asked.items())),
            "",
        ]
    )


def _licence(name: str) -> str:
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return "not installed where this page was made"
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    told = [*_of_classifiers(about.get_all("Classifier") or []), about.get("License")]
    short = [" ".join(one.split()) for one in told if one and len(one) < _LONG and one != "UNKNOWN"]
    if short:
        return short[0]
    return "Apache-2.0" if "Apache License" in (about.get("License") or "") else "none declared in its metadata"


def _of_classifiers(classifiers: list[str]) -> list[str]:
    found = [one.split(" :: ")[-1] for one in classifiers if one.startswith("License :: ")]
    return [", ".join(found)] if found else []
