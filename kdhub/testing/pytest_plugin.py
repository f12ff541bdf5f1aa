"""Fixtures for plugin authors; pytest imports this wherever kdhub is installed, so it imports nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from kdhub.plugins import PluginManager


@pytest.fixture
def kdhub_plugins() -> Iterator[PluginManager]:
    """The installed plugins in a fresh manager, put in force for one test; a broken plugin fails the test."""
    from kdhub.testing.isolation import isolated_plugins

    with isolated_plugins(installed=True) as manager:
        yield manager


@pytest.fixture
def install_fake(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A function that makes a distribution as `kdhub.testing.fake_distribution` does, in a folder of its own."""
    from contextlib import ExitStack

    from kdhub.testing.distributions import fake_distribution

    with ExitStack() as stack:

        def install(name: str, version: str = "1.0", **contents: Any) -> Path:
            folder = tmp_path / f"{name}-{version}"
            return stack.enter_context(fake_distribution(folder, name, version, **contents))

        yield install
