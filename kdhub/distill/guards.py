"""Guards: training that would go wrong in silence stops, and says what, where and how to silence the guard."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from kdhub.distill.arguments import FLAG, integer, require
from kdhub.errors import GuardError, UsageError, near_matches, placed
from kdhub.values import tensors_in

_STIFF = 3
"""Updates of the weights before which a gradient was exactly 0 that are no chance any more."""


@dataclass(frozen=True, slots=True)
class Guards:
    """Which guards watch a run; all do by default. Set them in the config as ``model.guards``.

    Attributes:
        silent_tap: Stop when a tap never fires. Off: the objective is skipped in that step.
        zero_term: Stop when a term is exactly zero in each of this many first steps in which it has a weight; 0 turns the
            guard off. Three, since one batch may honestly have nothing to teach. A number of the loss that is 0 and
            multiplies the term, such as a scheduled weight, is no mistake. A term that other values of the student would
            move, such as a hinge, is named in a warning, unless the two sides are the same.
        non_finite: Stop when a term is NaN or infinite.
        no_gradient: Stop when a term cannot teach the student, though the loss looks alive: what the taps read carries no
            gradient (a frozen stage, a re-entrant activation checkpoint), the loss or the adapter lets none through, or an
            adapter mixes in the teacher's numbers. Proven in the first step in which a term has a weight. Beside a term
            that teaches, one may train the loss itself or have nothing to do with the student, such as a regulariser.
        teacher_mode: Stop when a module of a teacher is in train mode.
        class_names: Stop when logits are compared and the teacher's class names differ from the student's in order.
    """

    silent_tap: bool = True
    zero_term: int = 3
    non_finite: bool = True
    no_gradient: bool = True
    teacher_mode: bool = True
    class_names: bool = True

    @classmethod
    def of(cls, options: Any) -> Guards:
        """Read what stands in the config as ``model.guards``.

        Raises:
            UsageError: If it is no dict of guard to switch.
        """
        options = {} if options is None else options
        known = [one.name for one in fields(cls)]
        if not isinstance(options, Mapping):
            raise UsageError("not a dict of guards", where="model.guards", expected=", ".join(known), got=repr(options))
        for key, value in options.items():
            where = f"model.guards.{key}"
            if key not in known:
                near = near_matches(str(key), known)
                raise UsageError(f"no guard {key!r}", where=where, expected=", ".join(known), near=near)
            with placed(where):
                require("Guards", integer(0) if key == "zero_term" else FLAG, **{key: value})
        return cls(**options)


class TermWatch:
    """Watches the unweighted terms of the objectives step by step.

    Args:
        guards: Which guards watch.
    """

    def __init__(self, guards: Guards) -> None:
        self.guards = guards
        self._seen: Counter[str] = Counter()
        self._zeros: Counter[str] = Counter()
        self._proven: set[str] = set()
        self._tried: dict[str, int] = {}

    def awaits_proof(self, term: str, weights: Iterable[Tensor]) -> bool:
        """Whether it is yet to be shown that a term pulls at the student; asked once in a forward pass.

        Args:
            term: Log name.
            weights: All that are trained. Until they are updated, as under accumulation, an adapter that begins at 0 stays
                there, and another gradient of 0 tells nothing new.
        """
        if not self.guards.no_gradient or term in self._proven:
            return False
        before, self._tried[term] = self._tried.get(term), sum(one._version for one in weights)
        return before != self._tried[term]

    def check(
        self,
        terms: Mapping[str, Tensor],
        step: int,
        weights: Mapping[str, float],
        pulls: Mapping[str, Tensor],
        held_at_zero: Callable[[str], bool],
        is_satisfied: Callable[[str], bool],
    ) -> None:
        """Look at all terms of one step, with one wait for the device.

        Args:
            terms: Log name to scalar.
            step: Position of the run, for the message.
            weights: Log name to the objective's weight in this step; a term of weight 0 may be 0.
            pulls: Log name to what `kdhub.distill.proof.prove` found, for terms that await proof.
            held_at_zero: Says whether a number of its loss holds a term at 0, which is then no mistake; asked rarely.
            is_satisfied: Says whether a term is 0 because it asks nothing more of the student; asked once.

        Raises:
            GuardError: For a term that is not finite; for one that was 0, or whose gradient was, in each of the first
                steps in which it had a weight.
        """
        looks = self.guards.non_finite or pulls or any(self._is_new(name) for name in terms)
        if not terms or not looks:
            return
        found = torch.stack([value.detach().float() for value in (*terms.values(), *pulls.values())]).tolist()
        pulling = dict(zip(pulls, found[len(terms) :], strict=True))
        for name, value in zip(terms, found, strict=False):
            if self.guards.non_finite and not math.isfinite(value):
                raise GuardError(
                    f"{name} is {value} at iteration {step + 1}",
                    expected="a finite term",
                    fix="look at the learning rate, the temperature, the batch's labels, and at -inf among the logits (a mask"
                    " over classes must be on both sides); model.guards.non_finite=False silences this guard",
                )
            if weights[name] == 0:
                continue
            if value == 0.0:
                self._count_zero(name, held_at_zero, is_satisfied)
            elif pulling.get(name, 0.0):
                self._proven.add(name)
            elif name in pulling:
                self._count_stiff(name)
            self._seen[name] += self._is_new(name)

    def _is_new(self, term: str) -> bool:
        return self._seen[term] < self.guards.zero_term

    def _count_zero(self, name: str, held_at_zero: Callable[[str], bool], is_satisfied: Callable[[str], bool]) -> None:
        if not self._is_new(name):
            return
        if held_at_zero(name):
            self._seen[name] = self.guards.zero_term  # it comes alive with that number
            return
        self._zeros[name] += 1
        if self._zeros[name] == self.guards.zero_term:
            what = f"{name} was exactly 0 in each of the first {self.guards.zero_term} steps: it trains nothing"
            if is_satisfied(name):
                print_log(f"{what} yet; other values of the student would, as with a hinge", "current", logging.WARNING)
                return
            raise GuardError(
                what,
                fix="see with `kdhub probe CONFIG` that the two taps read different models and that the batch has"
                " what the loss needs; model.guards.zero_term=0 silences this guard",
            )

    def _count_stiff(self, name: str) -> None:
        """Count a term that is not 0 and whose gradient is: one batch may be so, and the first of an adapter that begins at 0."""
        self._zeros[f"gradient of {name}"] += 1
        if self._zeros[f"gradient of {name}"] == _STIFF:
            raise GuardError(
                f"{name} is not 0, and its gradient at what the taps read of the student was exactly 0 before each of the first"
                f" {_STIFF} updates of the weights: it trains nothing",
                fix="look for argmax, rounding or clamping in the loss and in the adapter; model.guards.no_gradient=False"
                " silences this guard",
            )

    def state(self) -> dict[str, Any]:
        """Return how far the first steps are watched, for a checkpoint."""
        return {"seen": dict(self._seen), "zeros": dict(self._zeros), "proven": sorted(self._proven)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on watching where `state` was taken."""
        self._seen = Counter(state.get("seen", {}))
        self._zeros = Counter(state["zeros"])
        self._proven = set(state.get("proven", ()))


def check_gradient(objective: str, values: Iterable[Any]) -> None:
    """See that what an objective reads of the student can train it.

    Args:
        objective: Name of the objective.
        values: What its student taps read, before any adapter: one that learns would hide a student that does not.

    Raises:
        GuardError: If no tensor among them requires a gradient.
    """
    if not any(tensor.requires_grad for tensor in tensors_in(list(values))):
        raise GuardError(
            "what the taps read of the student carries no gradient: the objective would train nothing in it",
            where=f"model.objectives.{objective}.student",
            fix="tap a part that trains (not frozen, not inside a re-entrant activation checkpoint), or set"
            " model.guards.no_gradient=False",
        )


def check_class_names(student: Sequence[str], teacher: Sequence[str], name: str) -> None:
    """Compare class names in order.

    Logits of differently ordered classes have equal shapes, so a student would learn the wrong classes at a plausible loss.

    Args:
        student: Class names of the training data.
        teacher: Class names of the teacher.
        name: Name of the teacher, for the message.

    Raises:
        GuardError: At the first difference, saying whether it is one of order or of names.
    """
    if tuple(student) == tuple(teacher):
        return
    pairs = list(zip(student, teacher, strict=False))
    index = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))
    ours = student[index] if index < len(student) else "nothing"
    theirs = teacher[index] if index < len(teacher) else "nothing"
    kind = "the same classes in another order" if sorted(student) == sorted(teacher) else "other classes"
    raise GuardError(
        f"teacher {name!r} has {kind}: class {index} is {theirs!r} there and {ours!r} in the training data",
        expected=f"{len(student)} classes as the training data",
        got=f"{len(teacher)} classes",
        fix="train the teacher on these classes, state teacher.class_names if the recorded ones are wrong, or set"
        " model.guards.class_names=False",
    )
