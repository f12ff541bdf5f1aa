"""What a component takes, said without importing it: parameters, docstring and line of a ``module:attribute`` target."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from kdhub.config.types.source import absolute, dotted_name, locate

_NO_ARGUMENTS = ("object", "abc.ABC", "typing.Generic", "typing.Protocol", "torch.nn.Module", "torch.nn.modules.Module")
"""Bases whose constructor takes nothing; torch's says ``*args, **kwargs`` and then refuses them."""


_MAKES_RECORDS = ("dataclasses.dataclass", "typing.NamedTuple", "huggingface_hub.dataclasses.strict")
"""What gives a class a constructor of its fields; the last is that of transformers' configurations."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that a config can set.

    Attributes:
        name: Its name.
        default: Source text of its default; ``None`` if it must be given.
        annotation: Source text of its annotation, or nothing.
        keyword_only: Whether it stands behind a ``*``.
    """

    name: str
    default: str | None = None
    annotation: str = ""
    keyword_only: bool = False

    def __str__(self) -> str:
        text = f"{self.name}: {self.annotation}" if self.annotation else self.name
        if self.default is None:
            return text
        return f"{text} = {self.default}" if self.annotation else f"{text}={self.default}"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a class is constructed, or a function called, by keywords.

    Attributes:
        name: Name of the class or function.
        parameters: All that can be given by keyword; those that ``**kwargs`` hands to a base class are among them.
        open: Whether further keywords are swallowed by a ``**kwargs`` whose taker is unknown.
        doc: Docstring, or nothing.
        file: Source file.
        line: Line of the definition, from 1.
    """

    name: str
    parameters: tuple[Parameter, ...]
    open: bool = False
    doc: str = ""
    file: Path | None = None
    line: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of those without a default."""
        return tuple(parameter.name for parameter in self.parameters if parameter.default is None)

    def __str__(self) -> str:
        shown = [str(parameter) for parameter in self.parameters if not parameter.keyword_only]
        behind = [str(parameter) for parameter in self.parameters if parameter.keyword_only]
        if behind:
            shown += ["*", *behind]
        return f"{self.name}({', '.join([*shown, '**kwargs'] if self.open else shown)})"


def signature(target: str) -> Signature | None:
    """Read the signature of ``module:attribute`` from source.

    Returns:
        The signature, or ``None`` where the source does not tell: a compiled module, or a name made at run time.
    """
    found = locate(target.replace(":", "."))
    if found is None:
        return None
    node = found.node
    parameters, open_ = (
        _constructor(_resolution_order(found.module, node))
        if isinstance(node, ast.ClassDef)
        else _function(found.module, node, frozenset())
    )
    return Signature(node.name, parameters, open_, ast.get_docstring(node) or "", found.file, node.lineno)


def method_signature(target: str, name: str) -> Signature | None:
    """Read the signature of a method of the class ``module:attribute`` from source, of its own or inherited.

    Returns:
        The signature without ``self``, or ``None`` where the source does not tell.
    """
    found = locate(target.replace(":", "."))
    if found is None or not isinstance(found.node, ast.ClassDef):
        return None
    for entry in _resolution_order(found.module, found.node):
        if entry is None:
            return None
        for node in entry[1].body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                parameters, open_ = _called(node, skip=1)
                return Signature(name, parameters, open_ or node.args.vararg is not None)
    return None


def bound(target: Callable[..., Any]) -> Signature | None:
    """Read the signature of what is imported already: from its source, or as Python binds it where the source does not tell."""
    name = getattr(target, "__qualname__", type(target).__name__)
    told = signature(f"{getattr(target, '__module__', '')}:{name}")
    if told is not None:
        return told
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return None
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Signature(
        name,
        tuple(
            Parameter(
                p.name,
                None if p.default is p.empty else repr(p.default),
                "" if p.annotation is p.empty else inspect.formatannotation(p.annotation),
                p.kind is p.KEYWORD_ONLY,
            )
            for p in named
        ),
        open=any(p.kind is p.VAR_KEYWORD for p in parameters),
        doc=inspect.getdoc(target) or "",
    )


_Class = tuple[str, ast.ClassDef]
"""A class with the module that its names are to be read in."""

_Taken = tuple[tuple[Parameter, ...], bool]
"""Parameters, and whether further keywords are swallowed."""


def _constructor(order: list[_Class | None]) -> _Taken:
    """Read what the first constructor in resolution order takes, and what it hands on to the next one."""
    for position, entry in enumerate(order):
        if entry is None:
            return (), True
        module, node = entry
        if _is_record(module, node):
            return _record(module, node), _takes_more(order)
        inits = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if inits:
            # typing.overload variants stand before the one that runs
            return _with_handed_on(inits[-1], node.name, order[position + 1 :])
    return (), False


def _with_handed_on(init: ast.FunctionDef, own: str, rest: list[_Class | None]) -> _Taken:
    parameters, open_ = _called(init, skip=1)
    catch_all = init.args.kwarg.arg if init.args.kwarg else ""
    call = next((node for node in ast.walk(init) if _hands_on(node, catch_all)), None) if catch_all else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return parameters, open_
    positional = sum(not isinstance(argument, ast.Starred) for argument in call.args)
    base = call.func.value
    if not isinstance(base, ast.Call):  # Base.__init__(self, **kwargs)
        rest = rest[max(_position(rest, dotted_name(base)), 0) :]
        positional -= 1
    # super(Parent, self) begins behind Parent; mmdet's LoadAnnotations has a base of its own name
    elif base.args and dotted_name(base.args[0]) != own:
        rest = rest[_position(rest, dotted_name(base.args[0])) + 1 :]
    inherited, open_ = _constructor(rest)
    given = {keyword.arg for keyword in call.keywords} | {parameter.name for parameter in parameters}
    further = (replace(p, keyword_only=True) for p in inherited[positional:] if p.name not in given)
    # kwargs.pop("name") takes a key that no signature shows
    uses = sum(isinstance(node, ast.Name) and node.id == catch_all for node in ast.walk(init))
    return (*parameters, *further), open_ or uses > 1


def _hands_on(node: ast.AST, catch_all: str) -> bool:
    """Whether this is ``super().__init__(..., **kwargs)`` or ``Base.__init__(self, ..., **kwargs)``."""
    return _spreads(node, catch_all) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"


def _spreads(node: ast.AST, catch_all: str) -> TypeGuard[ast.Call]:
    """Whether this is a call with ``**kwargs``."""
    return isinstance(node, ast.Call) and any(
        keyword.arg is None and dotted_name(keyword.value) == catch_all for keyword in node.keywords
    )


def _function(module: str, node: ast.FunctionDef, seen: frozenset[str]) -> _Taken:
    """Read what a function takes, with what its only call with ``**kwargs`` takes: torchvision's models are such functions.

    It stays open: a decorator, or code between, may take further keywords or fill some in.
    """
    # a class method is named with its class, which Python passes
    parameters, open_ = _called(node, skip=any(dotted_name(one) == "classmethod" for one in node.decorator_list))
    catch_all = node.args.kwarg.arg if node.args.kwarg else ""
    calls = [one for one in ast.walk(node) if _spreads(one, catch_all)] if catch_all else []
    meant = absolute(module, dotted_name(calls[0].func)) if len(calls) == 1 else ""
    found = locate(meant) if meant and meant not in seen else None
    if found is None:
        return parameters, open_
    if isinstance(found.node, ast.ClassDef):
        taken, _ = _constructor(_resolution_order(found.module, found.node))
    else:
        taken, _ = _function(found.module, found.node, seen | {meant})
    given = {keyword.arg for keyword in calls[0].keywords} | {parameter.name for parameter in parameters}
    further = (p for p in taken[len(calls[0].args) :] if p.name not in given)
    return (*parameters, *(replace(p, keyword_only=True, default=p.default or "...") for p in further)), True


def _position(order: list[_Class | None], name: str) -> int:
    """Return where a class stands; -1, just before the order, for the class that is being read."""
    return next((i for i, entry in enumerate(order) if entry and entry[1].name == name.rpartition(".")[2]), -1)


def _resolution_order(module: str, node: ast.ClassDef) -> list[_Class | None]:
    """Linearise a class and its bases as Python does for all but contrived diamonds; ``None`` is an unknown base."""
    order: list[_Class | None] = []
    for base in node.bases:
        meant = absolute(module, dotted_name(base))
        if meant in _NO_ARGUMENTS or meant.rpartition(".")[2] == "object":
            continue
        found = _class(meant)
        order += _resolution_order(*found) if found is not None else [None]
    last = [entry for position, entry in enumerate(order) if entry is None or entry not in order[position + 1 :]]
    return [(module, node), *last]


def _class(dotted: str) -> _Class | None:
    found = locate(dotted) if dotted else None
    return (found.module, found.node) if found is not None and isinstance(found.node, ast.ClassDef) else None


def _called(node: ast.FunctionDef, skip: int = 0) -> _Taken:
    arguments = node.args
    plain = arguments.args
    defaults = [None] * (len(plain) - len(arguments.defaults)) + [ast.unparse(value) for value in arguments.defaults]
    pairs = list(zip(plain, defaults, strict=True))[max(0, skip - len(arguments.posonlyargs)) :]
    parameters = [Parameter(a.arg, default, _text(a.annotation)) for a, default in pairs]
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        default = None if value is None else ast.unparse(value)
        parameters.append(Parameter(argument.arg, default, _text(argument.annotation), keyword_only=True))
    return tuple(parameters), arguments.kwarg is not None


def _text(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return "" if annotation is None else ast.unparse(annotation)


def _is_record(module: str, node: ast.ClassDef) -> bool:
    decorators = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    names = {absolute(module, dotted_name(name)) for name in (*decorators, *node.bases)}
    return not names.isdisjoint(_MAKES_RECORDS)


def _takes_more(order: list[_Class | None]) -> bool:
    """Whether a record lets further keywords pass, as those of huggingface_hub do that say so in a decorator."""
    decorators = (one for entry in order if entry is not None for one in entry[1].decorator_list)
    calls = (one for one in decorators if isinstance(one, ast.Call))
    return any(keyword.arg == "accept_kwargs" for call in calls for keyword in call.keywords)


def _record(module: str, node: ast.ClassDef) -> tuple[Parameter, ...]:
    """Return the fields of a dataclass or named tuple, those of base dataclasses first."""
    fields: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        found = _class(absolute(module, dotted_name(base)))
        if found is not None and _is_record(*found):
            fields |= {parameter.name: parameter for parameter in _record(*found)}
    return tuple((fields | {parameter.name: parameter for parameter in _fields(node)}).values())


def _fields(node: ast.ClassDef) -> Iterator[Parameter]:
    for statement in node.body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        annotation, value = _text(statement.annotation), statement.value
        if "ClassVar" in annotation:
            continue
        options: dict[str, ast.expr] = {}
        if isinstance(value, ast.Call) and dotted_name(value.func).rpartition(".")[2] == "field":
            options = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}
            value = options.get("default", options.get("default_factory"))
        if "init" in options and ast.unparse(options["init"]) == "False":
            continue
        default = None if value is None else ast.unparse(value) + ("()" if "default_factory" in options else "")
        yield Parameter(statement.target.id, default, annotation)
