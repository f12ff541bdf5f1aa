"""Values of the wrong plain type, as far as an annotation tells: ``temperature='4'`` for ``temperature: float``."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kdhub.config.types.signature import Parameter

_TYPES: dict[str, tuple[type, ...]] = {
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "str": (str,),
    "dict": (Mapping,),
    "list": (list, tuple),
    "None": (type(None),),
    "Tensor": (),  # as in ``lr: float | Tensor``: no config can hold one
}
_NOT_TEXT = frozenset(_TYPES) - {"str"}


class Misfit(NamedTuple):
    """A value that an annotation rules out.

    Attributes:
        parameter: The parameter.
        value: What the config gives for it.
        certain: Whether no annotation could be so inexact: a text never is a number, a list never a single value.
    """

    parameter: Parameter
    value: Any
    certain: bool


def misfits(parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> Iterator[Misfit]:
    """Yield each parameter whose value its annotation rules out.

    Only annotations made of plain types are judged. A dict with ``type`` may be a schedule or a component that the owner builds.
    """
    for parameter in parameters:
        names = plain_types(parameter.annotation)
        if parameter.name not in values or not names:
            continue
        value = values[parameter.name]
        if any(fits(value, name) for name in names) or (isinstance(value, Mapping) and "type" in value):
            continue
        if isinstance(value, Mapping | list | tuple):
            yield Misfit(parameter, value, True)
        elif value is None:
            if parameter.default not in (None, "None"):
                yield Misfit(parameter, value, names <= _NOT_TEXT)
        elif isinstance(value, bool | int | float | str):
            # a text is no number, and a fraction no count
            certain = isinstance(value, str) or (isinstance(value, float) and "int" in names)
            yield Misfit(parameter, value, certain and names <= _NOT_TEXT)


def plain_types(annotation: str) -> frozenset[str]:
    """Return the plain types that an annotation is made of; none if anything else is among them."""
    try:
        names = frozenset(_names(ast.parse(annotation, mode="eval").body))
    except SyntaxError:
        return frozenset()
    return names if names <= _TYPES.keys() else frozenset()


def _names(expression: ast.expr) -> Iterator[str]:
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.BitOr):
        yield from _names(expression.left)
        yield from _names(expression.right)
    elif isinstance(expression, ast.Subscript) and ast.unparse(expression.value).endswith(("Optional", "Union")):
        inner = expression.slice
        for part in inner.elts if isinstance(inner, ast.Tuple) else (inner,):
            yield from _names(part)
        if ast.unparse(expression.value).endswith("Optional"):
            yield "None"
    else:
        yield ast.unparse(expression)


def fits(value: Any, name: str) -> bool:
    """Return whether a plain value is of a plain type; ``None`` and whole numbers written as ``8e4`` included."""
    if name == "int" and isinstance(value, float):
        return value.is_integer()  # 8e4 iterations
    # True is an int to Python, and no weight or count to anybody else
    return isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool))
