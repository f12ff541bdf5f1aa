"""Proof, in the first step, that each term of an objective can teach the student, through adapter and loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.distill.binding import partner
from kdhub.distill.blame import shown
from kdhub.distill.objective import Objective
from kdhub.errors import GuardError
from kdhub.rng import preserved_randomness
from kdhub.values import map_tensors, tensors_in

_SILENCE = "model.guards.no_gradient=False silences this guard"
_MEND_LOSS = "compute with the student's tensors, without .detach(), .item(), numpy or torch.no_grad()"
_LARGE = 2.0**16
"""Factor of a gradient that is asked for its presence alone, so that it does not vanish in half precision."""


def prove(
    objective: Objective,
    raw: Mapping[str, Any],
    adapted: Mapping[str, Any],
    terms: Mapping[str, Tensor],
    complete: bool,
) -> dict[str, Tensor]:
    """See that a gradient of each term reaches what the taps read of the student.

    Args:
        objective: The objective.
        raw: Loss input to value, before the adapters.
        adapted: The same after them.
        terms: Log name to term, with its graph, which is kept.
        complete: Whether these are all terms that the objective has.

    Returns:
        Log name to a scalar: 1 where some entry of the gradient is not 0, and 0 where all are.

    Raises:
        GuardError: If no gradient of a term arrives, naming who stops it, the loss or the adapter; if what one of several
            student taps reads is reached by no term. Beside a term that arrives, one may train the loss itself, as a
            discriminator's does, or have nothing to do with the student, as a regulariser or a constant has.
    """
    read, after = _learning(raw, objective), [one for own in _learning(adapted, objective).values() for one in own]
    before = [(name, tensor) for name, tensors in read.items() for tensor in tensors]
    trained = [parameter for parameter in objective.loss.parameters() if parameter.requires_grad]
    pulls: dict[str, Tensor] = {}
    reached: set[str] = set()
    bystanders: dict[str, bool] = {}
    for term, value in terms.items():
        found = _gradients(value, [*(tensor for _, tensor in before), *after, *trained])
        if found is None or not before:
            pulls[term] = value.new_ones(())
            reached |= read.keys()
            continue
        arrived = {name for (name, _), pull in zip(before, found, strict=False) if pull is not None}
        if not arrived:
            adapts, trains = found[len(before) : len(before) + len(after)], found[len(before) + len(after) :]
            by_adapter = any(pull is not None for pull in adapts) or not after
            if all(pull is None for pull in trains) and _hears(objective, adapted, term) is not False:
                raise _stopped(objective, term, by_adapter)
            bystanders[term] = by_adapter
            pulls[term] = value.new_ones(())
            continue
        reached |= arrived
        pulling = torch.stack([(pull != 0).any() for pull in found[: len(before)] if pull is not None])
        pulls[term] = pulling.any().to(value.dtype)
    if bystanders and not reached and complete:
        raise _stopped(objective, *max(bystanders.items(), key=lambda one: one[1]))
    unread = sorted(name for name, tensors in read.items() if tensors and name not in reached)
    if unread and complete:
        raise GuardError(
            f"no gradient reaches {', '.join(unread)}: the loss ({shown(objective.loss_type)}) or its adapter detaches it",
            where=f"{objective.where}.loss",
            fix=f"{_MEND_LOSS}; {_SILENCE}",
        )
    return pulls


def _stopped(objective: Objective, term: str, by_adapter: bool) -> GuardError:
    if by_adapter and objective.adapters:
        names = ", ".join(shown(one) for chain in objective.adapter_types.values() for one in chain)
        return GuardError(
            f"{term} teaches the student nothing: a gradient reaches the adapter's result ({names}) at most, and not what the"
            " taps read of the student, so that only the adapter would learn",
            where=f"{objective.where}.adapter",
            fix=f"use `value` in the adapter without .detach(), .data or torch.no_grad(); {_SILENCE}",
        )
    return GuardError(
        f"{term} teaches the student nothing: the loss ({shown(objective.loss_type)}) lets no gradient through to the"
        " student's value",
        where=f"{objective.where}.loss",
        fix=f"{_MEND_LOSS}; {_SILENCE}",
    )


def prove_shape_only(objective: Objective, values: Mapping[str, Any]) -> None:
    """See that the adapters use nothing of the teacher's value but its shape, by running copies with other content.

    Neither the adapters nor the random numbers of the run are changed.

    Raises:
        GuardError: If what an adapter returns depends on the teacher's numbers: the loss would compare the teacher with itself.
    """
    for name, chain in objective.adapters.items():
        like = values[objective.partners[name]]
        results = []
        for content in (like, map_tensors(_other_content, like)):
            twin = _copied(chain)
            if twin is not None:
                with preserved_randomness(), torch.no_grad():
                    results.append(objective.run_adapters(twin, name, values[name], content))
        pairs = zip(*map(tensors_in, results), strict=True)
        if not all(one.shape == two.shape and _equal(one, two) for one, two in pairs):
            raise GuardError(
                f"the adapter ({', '.join(map(shown, objective.adapter_types[name]))}) mixes the other side's numbers into the"
                " value: the loss would compare them with themselves",
                where=f"{objective.where}.adapter",
                fix=f"use nothing of `like` but its shape; {_SILENCE}",
            )


def held_at_zero(objective: Objective, values: Mapping[str, Any], name: str) -> bool:
    """Whether a term is 0 because a number of its loss is: one that multiplies it, as a term's weight does.

    Copies of the loss are tried with 1 and 2 in the place of each number that is 0; no if it cannot be copied.
    """
    zeros = {
        key: value
        for key, value in vars(objective.loss).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith("_") and value == 0
    }
    return any(_multiplies(objective, values, name, key, type(zero)) for key, zero in zeros.items())


def is_satisfied(objective: Objective, values: Mapping[str, Any], name: str) -> bool:
    """Whether a term is 0 because it asks nothing more of the student, as a hinge does beyond its margin.

    It is not if both sides are the same, or if no other values of the student would move it, as with an empty mask.
    """
    others = {ours: values.get(partner(objective.inputs, ours) or "") for ours in objective.student_taps}
    same = (
        all(one.shape == two.shape and _equal(one, two) for one, two in zip(*map(tensors_in, sides), strict=False))
        for sides in ((values[ours], theirs) for ours, theirs in others.items() if theirs is not None)
    )
    return not any(same) and bool(_hears(objective, values, name))


def _multiplies(objective: Objective, values: Mapping[str, Any], name: str, key: str, kind: type) -> bool:
    found = [_tried(objective, values, name, **{key: kind(factor)}) for factor in (1, 2)]
    one, two = (0.0 if term is None else float(term) for term in found)
    return one != 0 and abs(two - 2 * one) <= 1e-3 * abs(one)


def _hears(objective: Objective, values: Mapping[str, Any], name: str) -> bool | None:
    """Whether a term depends on the student's numbers; ``None`` if that cannot be tried."""
    other = {key: map_tensors(_other_content, values[key]) for key in objective.student_taps}
    found = [_tried(objective, given, name) for given in (values, {**values, **other})]
    return None if found[0] is None or found[1] is None else not torch.equal(found[0], found[1])


def _tried(objective: Objective, values: Mapping[str, Any], name: str, **numbers: Any) -> Tensor | None:
    """Compute a term with a copy of the loss that has other numbers; ``None`` if that fails."""
    loss = _copied(objective.loss)
    if loss is None:
        return None
    for key, number in numbers.items():
        setattr(loss, key, number)
    try:
        with preserved_randomness(), torch.no_grad():
            return objective.terms_of(loss, values).get(name)
    except Exception:  # noqa: BLE001 (other values may make no sense to the loss)
        return None


def _learning(values: Mapping[str, Any], objective: Objective) -> dict[str, list[Tensor]]:
    """Return the student's tensors that a gradient can reach, by loss input."""
    return {
        name: [tensor for tensor in tensors_in(values[name]) if tensor.requires_grad] for name in objective.student_taps
    }


def _gradients(term: Tensor, inputs: list[Tensor]) -> tuple[Tensor | None, ...] | None:
    """Return the gradient for each tensor; ``None`` for all if torch cannot tell."""
    if not term.requires_grad or not inputs:
        return (None,) * len(inputs)
    try:
        return torch.autograd.grad(term, inputs, torch.full_like(term, _LARGE), retain_graph=True, allow_unused=True)
    except RuntimeError:  # a re-entrant checkpoint, which only backward() can pass; what is amiss stops backward() too
        return None


def _copied(module: nn.Module) -> nn.Module | None:
    """Copy a loss or an adapter; ``None`` if it holds what cannot be copied, such as a lock.

    What it computed and kept, as ``weight_norm`` keeps a weight, is copied without its graph, which torch refuses to copy.
    """
    kept = [one for part in module.modules() for one in tensors_in(vars(part)) if not one.is_leaf]
    try:
        return copy.deepcopy(module, {id(one): one.detach() for one in kept})
    except (TypeError, RuntimeError):
        return None


def _other_content(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape and type, with another mean, spread, order and sign."""
    if tensor.dtype == torch.bool:
        return ~tensor
    return 1.5 - 2 * tensor if tensor.is_floating_point() else tensor + 1


def _equal(one: Tensor, two: Tensor) -> bool:
    return torch.allclose(one.float(), two.float(), rtol=1e-5, atol=1e-6, equal_nan=True)
