"""An installed distribution without installing: a package and its ``.dist-info`` in a folder put on ``sys.path``."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kdhub.plugins.names import GROUP


def write_distribution(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, str],
    entry_points: Mapping[str, str],
    requires: Iterable[str] = ("kdhub",),
) -> Path:
    """Write a distribution as pip would leave it, for a subprocess that gets ``folder`` as ``PYTHONPATH``.

    Args:
        folder: Becomes the distribution's ``site-packages``; made if it is not there.
        name: Name of the distribution.
        version: Its version.
        files: Path below ``folder`` to source text, which may be indented.
        entry_points: Entry name to module, of group ``kdhub.plugins``.
        requires: ``Requires-Dist`` lines.

    Returns:
        The ``.dist-info`` folder, to be damaged by tests of damaged metadata.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(text), encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *metadata, ""]), encoding="utf-8")
    entries = [f"{entry} = {module}" for entry, module in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *entries, ""]), encoding="utf-8")
    return info


@contextmanager
def fake_distribution(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, str],
    entry_points: Mapping[str, str],
    requires: Iterable[str] = ("kdhub",),
) -> Iterator[Path]:
    """Make a distribution visible to this process, and forget it and its modules afterwards.

    Args:
        folder: As in `write_distribution`, as all other arguments.
        name: Name of the distribution.
        version: Its version.
        files: Path below ``folder`` to source text.
        entry_points: Entry name to module.
        requires: ``Requires-Dist`` lines.

    Yields:
        The ``.dist-info`` folder.
    """
    info = write_distribution(folder, name, version, files=files, entry_points=entry_points, requires=requires)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    before = set(sys.modules)
    try:
        yield info
    finally:
        sys.path.remove(str(folder))
        for module in set(sys.modules) - before:
            # by file: a plugin may have been the first to import something that is not its own
            if Path(getattr(sys.modules[module], "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[module]
        importlib.invalidate_caches()
