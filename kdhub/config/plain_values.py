"""Values of the wrong plain type, as far as an annotation tells: ``temperature='4'`` for ``temperature: float``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdhub.config.signature import Parameter

_TYPES: dict[str, tuple[type, ...]] = {
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "str": (str,),
    "None": (type(None),),
    "Tensor": (),  # as in ``lr: float | Tensor``: no config can hold one
}


def misfits(parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> Iterator[tuple[Parameter, Any]]:
    """Yield each parameter whose value its annotation rules out.

    Only annotations made of plain types are judged, and only plain values: a dict may be a schedule or a component that
    the owner builds.
    """
    for parameter in parameters:
        names = [name.strip() for name in parameter.annotation.split("|")]
        if parameter.name not in values or not all(name in _TYPES for name in names):
            continue
        value = values[parameter.name]
        if isinstance(value, bool | int | float | str) and not any(_fits(value, name) for name in names):
            yield parameter, value


def _fits(value: Any, name: str) -> bool:
    # True is an int to Python, and no weight or count to anybody else
    return isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool))
