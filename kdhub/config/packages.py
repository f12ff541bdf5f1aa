"""``package::path``: configs that an installed library brings along, as in ``_base_ = 'mmseg::pspnet/pspnet_r18-....py'``.

mmengine asks for the distribution ``mmsegmentation`` by name, and so does not find mmseg as its maintained line installs
it; and to find one file it reads the library's whole model index, which takes seconds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdhub.errors import UsageError, near_matches

MARK = "::"
_DISTRIBUTIONS = {"mmseg": "onedl-mmsegmentation", "mmdet": "onedl-mmdetection"}
"""Where to get a library whose distribution has another name."""


def package_config(reference: str, where: str | None = None) -> Path:
    """Return the path of a config in an installed package.

    Args:
        reference: ``"package::path"``, the path relative to the package's folder of configs.
        where: File that refers to it.

    Raises:
        UsageError: If there is no such package, or no such config in it.
    """
    package, _, name = reference.partition(MARK)
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"no config {reference!r}: no package {package!r} is installed",
            where=where,
            near=[known + MARK + name for known in near_matches(package, _DISTRIBUTIONS)],
            fix=f"pip install {_DISTRIBUTIONS[package]}" if package in _DISTRIBUTIONS else None,
        )
    folder = Path(spec.submodule_search_locations[0], ".mim", "configs")
    if not (folder / name).is_file():
        there = [file.relative_to(folder).as_posix() for file in folder.rglob("*.py")]
        raise UsageError(
            f"no config {reference!r}" + ("" if there else f": the package {package!r} brings no configs"),
            where=where,
            near=[package + MARK + known for known in near_matches(name, there)],
        )
    return folder / name


@contextmanager
def mmengine_finds_packages() -> Iterator[None]:
    """Make mmengine resolve ``package::path`` by `package_config` within the block."""
    from mmengine.config import Config  # here, since to list components one needs no mmengine

    def find(reference: str, filename: str) -> tuple[str, str | None]:
        if MARK not in reference:
            return before(reference, filename)
        # the package's name is also the scope in which mmengine looks its components up
        return str(package_config(reference, where=filename)), reference.partition(MARK)[0]

    before = Config._get_cfg_path
    Config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(before)
