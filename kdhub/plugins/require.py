"""A config's ``kdhub = dict(require=[...])``: fail at once, with the line to type, if a plugin is not as required."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kdhub.errors import UsageError, near_matches
from kdhub.plugins.load import Loaded
from kdhub.plugins.names import KNOWN_DISTRIBUTIONS

WHERE = "kdhub.require"


def require(requirements: Iterable[str], rows: Sequence[Loaded]) -> None:
    """Check that each requirement is met by an installed and loaded plugin.

    Raises:
        UsageError: Names every requirement that is not met, why, and the ``pip install`` line for all of them.
    """
    by_dist = {canonicalize_name(row.source.dist): row for row in rows if row.source.version}
    problems, install = [], []
    for text in requirements:
        requirement = _parse(text)
        row = by_dist.get(canonicalize_name(requirement.name))
        if row is None:
            near = near_matches(requirement.name, {*by_dist, *KNOWN_DISTRIBUTIONS.values()} - {requirement.name})
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            problems.append(f"{requirement.name} is not installed as a plugin{hint}")
            install.append(text)
        elif not requirement.specifier.contains(row.source.version, prereleases=True):
            problems.append(
                f"{requirement.name} {row.source.version} is installed, {requirement.specifier} is required"
            )
            install.append(text)
        elif row.status != "ok":
            problems.append(
                f"{requirement.name} is installed, but its plugin {row.scope!r} is {row.status}: {row.reason}"
            )
    if problems:
        command = f"pip install {' '.join(repr(text) for text in install)}" if install else None
        raise UsageError(
            "the config requires plugins that are not there: " + "; ".join(problems), where=WHERE, fix=command
        )


def _parse(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(
            f"{text!r} is not a requirement", where=WHERE, expected="such as 'kdhub-segmentation>=0.2'", got=str(error)
        ) from error
