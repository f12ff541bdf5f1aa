"""Signatures of objects that are imported already, as Python binds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kdhub.config.types.signature import Parameter, Signature, signature


def bound(target: Callable[..., Any]) -> Signature | None:
    """Read a signature as Python binds it, and what it hands on through ``**kwargs`` from the source."""
    name = getattr(target, "__qualname__", type(target).__name__)
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        told = signature(f"{getattr(target, '__module__', '')}:{name}")
        if told is not None:
            return told
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Signature(
        name,
        tuple(
            Parameter(
                p.name,
                None if p.default is p.empty else repr(p.default),
                _annotation(p),
                p.kind is p.KEYWORD_ONLY,
            )
            for p in by_name
        ),
        open=any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters),
        doc=inspect.getdoc(target) or "",
    )


def _annotation(parameter: inspect.Parameter) -> str:
    if parameter.annotation is parameter.empty:
        return ""
    written = parameter.annotation
    return written if isinstance(written, str) else inspect.formatannotation(written)
