"""Which plugins there are: installed ones, by one pass over the metadata of distributions, and those that ``-p`` names."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from kdhub.errors import UsageError, near_matches
from kdhub.plugins.names import BUILTIN, GROUP, PLUGIN_NAME, entry_line
from kdhub.records import Diagnostic


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

    @property
    def package(self) -> str:
        """Top-level package of the manifest module."""
        return self.module.partition(".")[0].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the installed metadata found.

    Attributes:
        found: The plugins, sorted by name and distribution.
        problems: Distributions that look like a plugin's and are none; `kdhub doctor` shows them.
    """

    found: tuple[Found, ...]
    problems: tuple[Diagnostic, ...]


def scan() -> Scan:
    """Read the entry points of every distribution on ``sys.path``; imports no plugin.

    Of two installs of one distribution the first on the path counts, as for Python itself.
    """
    plugins: dict[tuple[str, str], Found] = {}
    first_install: dict[str, metadata.Distribution] = {}
    problems: list[Diagnostic] = []
    for dist in metadata.distributions():
        try:
            for found in _plugins_of(dist):
                owner = canonicalize_name(found.dist)
                if first_install.setdefault(owner, dist) is dist:
                    plugins[found.name, owner] = found
            problems += _misspelt_groups(dist)
        except Exception as error:  # noqa: BLE001 - one damaged folder must not hide every other plugin
            detail = f"{_place(dist)}: unreadable metadata ({type(error).__name__}: {error})"
            problems.append(Diagnostic("warn", "installed distributions", detail))
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


def _misspelt_groups(dist: metadata.Distribution) -> Iterator[Diagnostic]:
    """Yield entry points in a group that is almost kdhub's: to every program the plugin is not there."""
    for entry in dist.entry_points:
        if entry.group == GROUP or not _meant(entry.group, dist):
            continue
        detail = f"{dist.metadata['Name']} declares {entry.name!r} in the entry-point group {entry.group!r}, which kdhub does not read"
        yield Diagnostic("warn", "installed distributions", detail, entry_line(entry.name, entry.value))


def _meant(group: str, dist: metadata.Distribution) -> bool:
    first = re.split(r"[^a-z0-9]", group.lower())[0]
    if first.startswith(BUILTIN):
        return True
    # other programs' groups may look like it: only a distribution that needs kdhub may have meant kdhub's
    return bool(near_matches(first, [BUILTIN])) and any(re.match(r"kdhub\b(?!-)", line) for line in dist.requires or ())


def _place(dist: metadata.Distribution) -> str:
    # the only attribute that tells the folder of a distribution whose name cannot be read
    return str(getattr(dist, "_path", dist))


def one_off(value: str) -> Found:
    """Describe the plugin that ``-p VALUE`` names, importing nothing of it.

    A path ending in ``.py`` is a plugin whose scope is the file's stem; its targets may name that module. Anything else is
    a module name, whose scope is its top-level package.

    Raises:
        UsageError: If there is no such file or module, or the stem cannot be a scope.
    """
    if value.endswith(".py"):
        return _from_file(value)
    package = value.partition(".")[0]
    if not package.isidentifier() or importlib.util.find_spec(package) is None:
        raise UsageError(
            f"-p {value}: no installed plugin, module or file of that name",
            expected="a plugin of `kdhub plugins list`, a path ending in .py, or an importable module",
        )
    return Found(package, value, value, "")


def _from_file(value: str) -> Found:
    path = Path(value).resolve()
    if not path.is_file():
        raise UsageError(f"-p {value}: no such file", fix="give the path of the plugin's .py file")
    stem = path.stem
    if not PLUGIN_NAME.fullmatch(stem):
        raise UsageError(
            f"-p {value}: the file's name becomes the config scope and cannot be one",
            expected="lower-case letters, digits and _, beginning with a letter",
            got=repr(stem),
            fix="rename the file",
        )
    taken = _other_module(stem, path)
    if taken:
        raise UsageError(f"-p {value}: a module named {stem!r} exists already ({taken})", fix="rename the file")
    return Found(stem, stem, str(path), "", file=path)


def _other_module(stem: str, path: Path) -> str:
    """Return where a module ``stem`` other than ``path`` is, or an empty string."""
    loaded = sys.modules.get(stem)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(stem)
    origin = getattr(loaded, "__file__", None) or (spec.origin if spec else None)
    if (loaded is None and spec is None) or (origin and Path(origin).resolve() == path):
        return ""
    return origin or "built in"


def make_importable(path: Path) -> None:
    """Let ``path`` be imported under its stem, here and in worker processes, which get this ``sys.path``.

    Its folder goes last, so that nothing in it can shadow an installed module.
    """
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
