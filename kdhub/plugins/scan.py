"""Which plugins are installed: one pass over the metadata of distributions, importing nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from kdhub.plugins.names import GROUP


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin as its metadata describe it.

    Attributes:
        name: Entry name, which is plugin name and config scope.
        module: Manifest module to import, such as ``kdseg.plugin``.
        dist: Distribution, or the path or module named by ``-p``.
        version: Version of the distribution; empty for a one-off plugin.
        requires: The distribution's ``Requires-Dist`` lines.
        file: File of a one-off plugin, imported under its stem.
    """

    name: str
    module: str
    dist: str
    version: str
    requires: tuple[str, ...] = ()
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the installed metadata found.

    Attributes:
        found: The plugins, sorted by name and distribution.
        problems: Distributions that look like a plugin's but cannot be read, a line each; `kdhub doctor` shows them.
    """

    found: tuple[Found, ...]
    problems: tuple[str, ...]


def scan() -> Scan:
    """Read the entry points of every distribution on ``sys.path``; imports no plugin.

    Of two installs of one distribution the first on the path counts, as for Python itself.
    """
    plugins: dict[tuple[str, str], Found] = {}
    first_install: dict[str, metadata.Distribution] = {}
    problems: list[str] = []
    for dist in metadata.distributions():
        try:
            for found in _plugins_of(dist):
                owner = canonicalize_name(found.dist)
                if first_install.setdefault(owner, dist) is dist:
                    plugins[found.name, owner] = found
        except Exception as error:  # noqa: BLE001 - one damaged folder must not hide every other plugin
            problems.append(f"{_place(dist)}: unreadable metadata ({type(error).__name__}: {error})")
    return Scan(tuple(plugins[key] for key in sorted(plugins)), tuple(problems))


def _plugins_of(dist: metadata.Distribution) -> Iterator[Found]:
    entries = [entry for entry in dist.entry_points if entry.group == GROUP]
    if not entries:
        return
    name, version = dist.metadata["Name"], dist.metadata["Version"]
    if not name or not version:
        raise ValueError("METADATA has no Name or no Version")
    for entry in entries:
        yield Found(entry.name, entry.value, name, version, tuple(dist.requires or ()))


def _place(dist: metadata.Distribution) -> str:
    # the only attribute that tells the folder of a distribution whose name cannot be read
    return str(getattr(dist, "_path", dist))
