"""What plugin authors import in their tests; also a pytest plugin, which is active wherever kdhub is installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdhub.testing.contracts import (
        assert_adapter_contract,
        assert_loss_contract,
        assert_plugin_contract,
        assert_schedule_contract,
        assert_teacher_contract,
    )
    from kdhub.testing.distributions import fake_distribution, write_distribution
    from kdhub.testing.isolation import isolated_plugins
    from kdhub.testing.resume import assert_resume_exact

# pytest imports this package in every project of the environment: nothing heavy until it is used.
# No module here bears the name of a function: once imported, it would hide that function.
_ON_FIRST_USE = {
    "assert_adapter_contract": "kdhub.testing.contracts",
    "assert_loss_contract": "kdhub.testing.contracts",
    "assert_plugin_contract": "kdhub.testing.contracts",
    "assert_resume_exact": "kdhub.testing.resume",
    "assert_schedule_contract": "kdhub.testing.contracts",
    "assert_teacher_contract": "kdhub.testing.contracts",
    "fake_distribution": "kdhub.testing.distributions",
    "isolated_plugins": "kdhub.testing.isolation",
    "write_distribution": "kdhub.testing.distributions",
}

__all__ = [
    "assert_adapter_contract",
    "assert_loss_contract",
    "assert_plugin_contract",
    "assert_resume_exact",
    "assert_schedule_contract",
    "assert_teacher_contract",
    "fake_distribution",
    "isolated_plugins",
    "write_distribution",
]


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'kdhub.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_ON_FIRST_USE[name]), name)
