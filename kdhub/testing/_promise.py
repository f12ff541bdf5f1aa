"""What the contract helpers share: failing with a remedy, building under a fixed seed, a round trip through a file."""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

Example = tuple[int, ...] | Callable[[], Any]
"""An input of a contract: a shape, to be filled with normal numbers, or a function that makes the value."""


def broken(subject: str, what: str, mend: str) -> NoReturn:
    """Fail, with what is broken and how to mend it.

    Raises:
        AssertionError: Always.
    """
    raise AssertionError(f"{subject}: {what} -> {mend}")


class Breaches:
    """The broken promises of one subject, each a line with what to mend."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, subject: str, what: str, mend: str) -> None:
        """Note one, and go on."""
        self._lines[f"{subject}: {what} -> {mend}"] = None

    def hold(self, check: Callable[..., None], *subject: Any) -> bool:
        """Run a check, and note what it finds broken; return whether it held."""
        try:
            check(*subject)
        except AssertionError as error:
            self._lines[str(error)] = None
            return False
        return True

    def told(self) -> AssertionError:
        """Return the error that tells all of them."""
        return AssertionError("\n".join(self._lines))


@contextmanager
def all_breaches() -> Iterator[Breaches]:
    """Tell every broken promise of the block at once, so that an author mends them in one go.

    What fails in another way once a promise is broken follows from that, and is left out.

    Raises:
        AssertionError: With one line for each.
    """
    breaches = Breaches()
    try:
        yield breaches
    except Exception as error:
        if not breaches:
            raise
        if isinstance(error, AssertionError):
            breaches.hold(_raise, error)
        raise breaches.told() from error
    if breaches:
        raise breaches.told()


def _raise(error: BaseException) -> NoReturn:
    raise error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers from a fixed seed, and leave the caller's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def maker(component: Any, arguments: Mapping[str, Any] | None) -> Callable[[], Any]:
    """Return a function that makes the component anew each time: from its class, or as a copy of an instance.

    Raises:
        AssertionError: If constructor arguments come with an instance.
    """
    if isinstance(component, type):
        return lambda: component(**(arguments or {}))
    if arguments:
        broken(type(component).__name__, "`arguments` given with an instance", "give the class")
    return lambda: copy.deepcopy(component)


def example(value: Example) -> Any:
    """Make one input."""
    return torch.randn(*value) if isinstance(value, tuple) else value()


def require_attributes(component: Any, arguments: Mapping[str, Any] | None) -> None:
    """See that each scalar argument of the constructor is kept as an attribute of the same name.

    Raises:
        AssertionError: If one is not, or has another value than was given.
    """
    name = type(component).__name__
    for parameter in inspect.signature(type(component)).parameters.values():
        value = (arguments or {}).get(parameter.name, parameter.default)
        if not isinstance(value, bool | int | float | str):
            continue
        mend = f"write self.{parameter.name} = {parameter.name} in the constructor, so that a schedule can drive it"
        if not hasattr(component, parameter.name):
            broken(name, f"argument {parameter.name!r} is not kept", mend)
        kept = getattr(component, parameter.name)
        if arguments is not None and kept != value:
            broken(name, f"argument {parameter.name}={value!r} is kept as {kept!r}", mend)


def reload(saved: nn.Module, into: nn.Module) -> None:
    """Carry weights over through a file, as a checkpoint does.

    Raises:
        AssertionError: If they cannot be saved safely or do not load.
    """
    name = type(saved).__name__
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    try:
        into.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:  # noqa: BLE001 (whatever it is, the author has to mend it)
        reason = str(error).splitlines()[0]
        broken(
            name, f"its state_dict does not load again ({reason})", "keep tensors in it: pickled objects are refused"
        )


def same(one: Tensor, other: Tensor, rtol: float = 0.0, atol: float = 0.0) -> bool:
    """Whether two results agree; NaN agrees with NaN, which is a breach of its own."""
    return torch.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True)


def gradients(total: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Return the gradient of a scalar for each input, ``None`` where none arrives."""
    found = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
    return dict(zip(inputs, found, strict=True))
