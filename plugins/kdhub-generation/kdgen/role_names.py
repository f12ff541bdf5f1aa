"""Optimizers and roles, compared by name: what the check of a config needs, without torch."""

from __future__ import annotations

from collections.abc import Iterable

from kdhub.api import UsageError, near_matches


def role_problems(given: Iterable[str], roles: Iterable[str]) -> list[UsageError]:
    """Compare the optimizers of a config with the roles of a method.

    Args:
        given: Names of optimizers.
        roles: Roles that train.
    """
    given, roles = tuple(given), tuple(roles)
    unknown = [
        UsageError(
            f"an optimizer for a role that does not exist: {name!r}",
            where=f"optim_wrapper.{name}",
            expected=f"one of {', '.join(roles)}",
            near=near_matches(name, roles),
        )
        for name in given
        if name not in roles
    ]
    without = [
        UsageError(
            f"the role {role!r} has no optimizer, so it would never learn",
            where=f"optim_wrapper.{role}",
            got=f"optimizers for {', '.join(given) or 'none'}",
            fix=f"optim_wrapper.{role}=dict(type='OptimWrapper', optimizer=dict(...))",
        )
        for role in roles
        if role not in given
    ]
    return [*unknown, *without]
