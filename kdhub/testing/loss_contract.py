"""What every loss promises to the objective that calls it, as one assertion."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from kdhub.records import LossSpec
from kdhub.testing._promise import (
    Example,
    all_breaches,
    broken,
    example,
    gradients,
    maker,
    reload,
    require_attributes,
    same,
    seeded,
)

_HALF = (torch.float16, torch.bfloat16)
_UPCAST = "raise the inputs with .float() at the top of forward"
_NOT_ZERO = "mend it, or set zero_at_equality=False in its LossSpec"


def assert_loss_contract(
    loss: nn.Module | type[nn.Module],
    *,
    inputs: Mapping[str, Example],
    arguments: Mapping[str, Any] | None = None,
    spec: LossSpec | None = None,
    batch_order: bool = True,
    magnitude: float | None = 1e4,
) -> None:
    """Assert all that kdhub takes for granted about a loss.

    Its scalar constructor arguments are attributes; its ``forward`` takes what its record declares; it returns a scalar, or
    a dict of scalars, in float32 and not 0 for unequal inputs; the same for the same inputs; its gradient reaches every
    student input and no teacher input; it stays finite in float16 and bfloat16 and for large values; it is zero at
    equality, with a zero gradient, if its record says so; the order of the batch does not matter; and it survives a
    checkpoint. In a run the distiller raises inputs to float32 and detaches the teacher's; the loss must do both itself, for
    those who call it directly.

    Args:
        loss: The class, or an instance. Only with the class can state that a checkpoint misses be found.
        inputs: Input name to a shape, filled with normal numbers, or to a function that makes the value. At least 2
            samples. Optional inputs may be there or not. Equality is tried where both sides have one shape.
        arguments: Constructor arguments that go with the class.
        spec: The record in the manifest; without it neither the declared inputs nor equality is looked at.
        batch_order: Whether a permutation of the batch must leave the value unchanged.
        magnitude: Largest absolute value that inputs given as shapes are scaled to; ``None`` leaves that test out, for
            inputs with a bounded meaning.

    Raises:
        AssertionError: With every broken promise and what to mend, one a line.
    """
    make = maker(loss, arguments)
    with all_breaches() as breaches:
        with seeded(0):
            module = make()
            if not isinstance(module, nn.Module):
                broken(type(module).__name__, "is no torch.nn.Module", "derive it from torch.nn.Module")
            breaches.hold(require_attributes, module, (arguments or {}) if isinstance(loss, type) else None)
            _signature(module, inputs, spec)  # without it the loss cannot be called
            values = {key: example(value) for key, value in inputs.items()}
        case = _Case(module, values)
        breaches.hold(case.compares)
        repeats = breaches.hold(case.repeats)
        breaches.hold(case.pulls)
        breaches.hold(_in_every_precision, case, [key for key in inputs if isinstance(inputs[key], tuple)], magnitude)
        if spec is not None and spec.zero_at_equality:
            breaches.hold(case.rests_at_equality)
        if repeats:  # a random loss breaks these too, for no reason of their own
            if batch_order:
                breaches.hold(case.ignores_order)
            breaches.hold(case.survives_checkpoint, make)


def _in_every_precision(case: _Case, shaped: Iterable[str], magnitude: float | None) -> None:
    """See that a loss stays finite in half precision and for large values; one remedy serves all, so the first breach counts."""
    for dtype in _HALF:
        case.with_values(_cast(case.values, dtype)).stays_finite(f"for {dtype} inputs")
    if magnitude is not None:
        large = {**case.values, **{key: _scaled(case.values[key], magnitude) for key in shaped}}
        for dtype in (torch.float32, *_HALF):
            case.with_values(_cast(large, dtype)).stays_finite(f"for {dtype} values up to {magnitude:g}")
        case.with_values(large).gradient()


@dataclass(frozen=True)
class _Case:
    """One loss with one set of inputs; each method is one promise."""

    loss: nn.Module
    values: Mapping[str, Any]

    def with_values(self, values: Mapping[str, Any]) -> _Case:
        return _Case(self.loss, values)

    def broken(self, what: str, mend: str) -> NoReturn:
        broken(type(self.loss).__name__, what, mend)

    def side(self, side: str) -> dict[str, Tensor]:
        tensors = {name: value for name, value in self.values.items() if isinstance(value, Tensor)}
        return {name: value for name, value in tensors.items() if name.startswith(side) and value.is_floating_point()}

    def terms(self, **values: Any) -> dict[str, Tensor]:
        """Call the loss; a single scalar is the term of empty name."""
        result = self.loss(**{**self.values, **values})
        terms = dict(result) if isinstance(result, Mapping) else {"": result}
        if not terms:
            self.broken("returns no term", "return a scalar or a dict of scalars")
        for term, value in terms.items():
            if not isinstance(value, Tensor):
                self.broken(f"returns {type(value).__name__}{_of(term)}", "return a tensor of shape ()")
            if value.ndim:
                self.broken(f"returns {tuple(value.shape)}{_of(term)}", "reduce it to a tensor of shape ()")
        return terms

    def compares(self) -> None:
        terms = self.terms()
        for term, value in terms.items():
            if not value.isfinite():
                self.broken(f"is {value.item()} for normal numbers{_of(term)}", "look for a logarithm or root of 0")
        if all(value == 0 for value in terms.values()):
            self.broken("is 0 though student and teacher differ", "see that it compares the two")

    def repeats(self) -> None:
        with seeded(1):
            first = self.terms()
        with seeded(2):
            second = self.terms()
        if any(not same(first[term], second[term]) for term in first):
            self.broken("gives two values for the same inputs", "leave random numbers and counters out of forward")

    def gradient(self) -> dict[str, Tensor]:
        """Return the gradient of each student input: finite, and none for the teacher."""
        students, teachers = self.side("student"), self.side("teacher")
        leaves = {name: value.clone().requires_grad_() for name, value in (students | teachers).items()}
        total = torch.stack(list(self.terms(**leaves).values())).sum()
        if not total.requires_grad:
            self.broken("has no gradient", "compute with the student's tensors, without .item(), .detach() or numpy")
        found = gradients(total, leaves)
        for name in teachers:
            leak = found[name]
            if leak is not None and leak.any():
                self.broken(f"a gradient reaches {name!r}", f"write {name} = {name}.detach() at the top of forward")
        pulls = {}
        for name in students:
            pull = found[name]
            if pull is None:
                self.broken(f"no gradient reaches {name!r}", f"use {name} without .item() or .detach()")
            if not pull.isfinite().all():
                self.broken(f"the gradient of {name!r} is not finite", "look for a root or a division at 0")
            pulls[name] = pull
        return pulls

    def pulls(self) -> None:
        for name, pull in self.gradient().items():
            if not pull.any():
                self.broken(f"the gradient of {name!r} is 0 everywhere", f"use {name} without rounding or argmax")

    def stays_finite(self, when: str) -> None:
        for term, value in self.terms().items():
            if not value.isfinite():
                self.broken(f"is {value.item()} {when}{_of(term)}", _UPCAST)
            if value.dtype != torch.float32:
                self.broken(f"computes in {value.dtype} {when}{_of(term)}", _UPCAST)

    def rests_at_equality(self, tolerance: float = 1e-5) -> None:
        partners = {name: "teacher" + name.removeprefix("student") for name in self.side("student")}
        for name, partner in partners.items():
            if partner not in self.values:
                self.broken(f"{name!r} has no {partner!r} to equal", _NOT_ZERO)
        if any(self.values[name].shape != self.values[partner].shape for name, partner in partners.items()):
            return
        equal = {name: self.values[partner] for name, partner in partners.items()}
        case = self.with_values({**self.values, **equal})
        for term, value in case.terms().items():
            if abs(value.item()) > tolerance:
                self.broken(f"is {value.item():g} at equality{_of(term)}", _NOT_ZERO)
        for name, pull in case.gradient().items():
            if pull.abs().max() > tolerance:
                self.broken(f"pulls {name!r} by {pull.abs().max():g} at equality", _NOT_ZERO)

    def ignores_order(self) -> None:
        batch = len(next(iter(self.side("student").values())))
        if batch < 2:
            self.broken("was tested with one sample", "give inputs of at least 2 samples")
        order = torch.arange(batch).roll(1)
        batched = {name: v for name, v in self.values.items() if isinstance(v, Tensor) and v.shape[:1] == (batch,)}
        before, after = self.terms(), self.terms(**{name: value[order] for name, value in batched.items()})
        if any(not same(before[term], after[term], rtol=1e-4, atol=1e-6) for term in before):
            self.broken("depends on the order of the batch", "reduce over it symmetrically, or pass batch_order=False")

    def survives_checkpoint(self, make: Callable[[], nn.Module]) -> None:
        with seeded(3):
            fresh = make()
        reload(self.loss, fresh)
        before, after = self.terms(), _Case(fresh, self.values).terms()
        if any(not same(before[term], after[term]) for term in before):
            self.broken(
                "gives another value after a checkpoint", "keep what it learns in nn.Parameter, the rest in buffers"
            )


def require_declared_inputs(name: str, parameters: Iterable[inspect.Parameter], spec: LossSpec) -> None:
    """See that a loss takes what its record declares.

    Args:
        name: Name of the loss.
        parameters: Those of its ``forward``, without ``self``.
        spec: Its record.

    Raises:
        AssertionError: If they differ.
    """
    required, optional = _inputs(parameters)
    for field, declared, taken in (("inputs", spec.inputs, required), ("optional", spec.optional, optional)):
        if set(declared) != taken:
            broken(
                name,
                f"forward takes {_names(taken)} and its LossSpec declares {field} {_names(declared)}",
                "make the two equal: inputs are parameters without a default, optional those with one",
            )


def _signature(loss: nn.Module, inputs: Mapping[str, Example], spec: LossSpec | None) -> None:
    name = type(loss).__name__
    parameters = inspect.signature(loss.forward).parameters.values()
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            broken(name, f"forward takes {parameter}", "name every input: kdhub binds them by name")
    if spec is not None:
        require_declared_inputs(name, parameters, spec)
    required, optional = _inputs(parameters)
    if missing := required - set(inputs):
        broken(name, f"no example for {_names(missing)}", "add it to `inputs`")
    if unknown := set(inputs) - required - optional:
        broken(name, f"forward does not take {_names(unknown)}", "leave it out of `inputs`, or add the parameter")


def _inputs(parameters: Iterable[inspect.Parameter]) -> tuple[set[str], set[str]]:
    """Return the names without and with a default."""
    defaults = {parameter.name: parameter.default for parameter in parameters}
    required = {name for name, default in defaults.items() if default is inspect.Parameter.empty}
    return required, set(defaults) - required


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _cast(values: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in values.items()
    }


def _scaled(value: Tensor, magnitude: float) -> Tensor:
    return value * (magnitude / value.abs().max())


def _of(term: str) -> str:
    return f" (term {term!r})" if term else ""
