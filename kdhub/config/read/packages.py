"""Configs that are named and not located: a plugin's recipe, ``scope:recipe``, and ``package::path``, what a library brings along.

Both may stand in ``_base_``, as in ``_base_ = ['mmseg::pspnet/pspnet_r18-....py']`` and ``_base_ = ['kdseg:camvid-small']``.
mmengine asks for the distribution ``mmsegmentation`` by name, and so does not find mmseg as its maintained line installs it;
and to find one file it reads the library's whole model index, which takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdhub.errors import UsageError, near_matches
from kdhub.plugins import PluginManager
from kdhub.plugins.modules import find_module

_MARK = "::"
_RECIPE = re.compile(r"[a-z][a-z0-9_]*:[a-z0-9][a-z0-9-]*")
_DISTRIBUTIONS = {"mmseg": "onedl-mmsegmentation", "mmdet": "onedl-mmdetection"}
"""Where to get a library whose distribution has another name."""


def named_config(reference: str, where: str | None = None, manager: PluginManager | None = None) -> Path | None:
    """Return the path of a config that is named; ``None`` for a reference that is a path itself.

    Args:
        reference: ``"scope:recipe"``, ``"package::path"``, or any other.
        where: File that refers to it.
        manager: Knows recipes; ``None`` takes the plugins in force.

    Raises:
        UsageError: If there is no such package, plugin, or config in it.
    """
    if _MARK in reference:
        return _package_config(reference, where)
    if not _RECIPE.fullmatch(reference):
        return None
    if manager is None:
        from kdhub.registry import init  # here, since it imports mmengine, and to list components one needs no mmengine

        manager = init()
    try:
        return manager.recipe(reference)
    except UsageError as error:
        if where is None:
            raise
        raise error.at(where) from error


def _package_config(reference: str, where: str | None) -> Path:
    """Return the path of a config in an installed package.

    Args:
        reference: ``"package::path"``, the path relative to the package's folder of configs.
        where: File that refers to it.

    Raises:
        UsageError: If there is no such package, or no such config in it.
    """
    package, _, name = reference.partition(_MARK)
    spec = find_module(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"no config {reference!r}: no package {package!r} is installed",
            where=where,
            near=[known + _MARK + name for known in near_matches(package, _DISTRIBUTIONS)],
            fix=f"pip install {_DISTRIBUTIONS[package]}" if package in _DISTRIBUTIONS else None,
        )
    folder = Path(spec.submodule_search_locations[0], ".mim", "configs")
    if not (folder / name).is_file():
        there = [file.relative_to(folder).as_posix() for file in folder.rglob("*.py")]
        raise UsageError(
            f"no config {reference!r}" + ("" if there else f": the package {package!r} brings no configs"),
            where=where,
            near=[package + _MARK + known for known in near_matches(name, there)],
        )
    return folder / name


@contextmanager
def mmengine_finds_named_configs() -> Iterator[None]:
    """Make mmengine resolve what stands in ``_base_`` by `named_config` within the block."""
    from mmengine.config import Config  # here, since to list components one needs no mmengine

    def find(reference: str, filename: str) -> tuple[str, str | None]:
        path = named_config(reference, where=filename)
        if path is None:
            return before(reference, filename)
        # a package's name is also the scope in which mmengine looks its components up
        return str(path), reference.partition(_MARK)[0] if _MARK in reference else None

    before = Config._get_cfg_path
    Config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(before)
