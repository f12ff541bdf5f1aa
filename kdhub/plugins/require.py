"""A config's ``kdhub = dict(require=[...])``: fail at once, with the line to type, if a plugin is not as required."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kdhub.errors import UsageError, near_matches
from kdhub.plugins.load import Loaded
from kdhub.plugins.names import BUILTIN, KNOWN_DISTRIBUTIONS, install_known

WHERE = "kdhub.require"
_OWN = frozenset({BUILTIN, *KNOWN_DISTRIBUTIONS.values()})


def require(requirements: Iterable[str], rows: Sequence[Loaded]) -> None:
    """Check that each requirement is met by an installed and loaded plugin.

    Raises:
        UsageError: Names every requirement that is not met, why, and how to get what is missing.
    """
    by_dist = {canonicalize_name(row.source.dist): row for row in rows if row.source.version}
    problems, missing = [], []
    for text in requirements:
        requirement = _parse(text)
        row = by_dist.get(canonicalize_name(requirement.name))
        if row is None:
            near = () if requirement.name in _OWN else near_matches(requirement.name, {*by_dist, *_OWN})
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            problems.append(f"{requirement.name} is not installed as a plugin{hint}")
            if not _OWN.intersection(near):
                missing.append(text)
        elif not requirement.specifier.contains(row.source.version, prereleases=True):
            problems.append(
                f"{requirement.name} {row.source.version} is installed, {requirement.specifier} is required"
            )
            missing.append(text)
        elif row.status != "ok":
            problems.append(
                f"{requirement.name} is installed, but its plugin {row.scope!r} is {row.condition}: {row.reason}"
            )
    if problems:
        what = f"the config requires plugins that are not there: {'; '.join(problems)}"
        raise UsageError(what, where=WHERE, fix="; ".join(_remedies(missing)))


def _remedies(missing: Iterable[str]) -> Iterator[str]:
    others = []
    for text in missing:
        name = Requirement(text).name
        if name == BUILTIN:
            yield "install a newer kdhub"
        elif name in _OWN:
            yield install_known(name)
        else:
            others.append(repr(text))
    if others:
        yield f"pip install {' '.join(others)}"


def _parse(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(
            f"{text!r} is not a requirement", where=WHERE, expected="such as 'kdhub-segmentation>=0.2'", got=str(error)
        ) from error
