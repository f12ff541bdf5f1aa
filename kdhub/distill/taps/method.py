"""A tap on a method: knowledge that no module returns, such as a score or a proposal list."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from kdhub.distill.paths import resolve
from kdhub.distill.taps.base import Tap
from kdhub.errors import UsageError


class MethodOutput(Tap):
    """What a method of the model, or of one of its modules, returns.

    Args:
        path: Dotted path of the method in the unwrapped model, such as ``decode_head.predict_by_feat``.
        key: Entry of a tuple, dict or object result; ``None`` takes it whole.
        call: Which call counts if the method runs several times in a forward: an index, ``"all"``, ``"cat"``, or
            ``None`` to demand exactly one.
    """

    reads_result = True

    def attach(self, model: nn.Module) -> Callable[[], None]:
        """Shadow the method on its owner until the returned function is called."""
        owner, name, method = resolve(model, self.path)
        if isinstance(method, nn.Module):
            raise UsageError(
                f"{self.path!r} is a module of {type(model).__name__}, not a method",
                fix=f"write dict(type='kdhub.ModuleOutput', path={self.path!r})",
            )
        shadowed = vars(owner).get(name)

        @functools.wraps(method)
        def keep(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self.record(result)
            return result

        def detach() -> None:
            if shadowed is None:
                del vars(owner)[name]
            else:
                vars(owner)[name] = shadowed

        vars(owner)[name] = keep
        return detach
