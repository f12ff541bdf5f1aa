"""One objective: taps, adapters, a loss and its weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.config.objectives import Inputs
from kdhub.distill.binding import inputs_of, partner, require_all, side, student_taps, teacher_taps
from kdhub.distill.blame import blamed, component_type, fault, require_callable
from kdhub.distill.fields import BatchFields
from kdhub.distill.levels import by_level, is_pyramid
from kdhub.distill.schedules import as_schedule
from kdhub.distill.taps import Tap
from kdhub.distill.teachers import Teacher
from kdhub.errors import UsageError
from kdhub.records import LossSpec
from kdhub.registry import build, find
from kdhub.values import describe, map_tensors, tensors_in, to_float32


class Objective(nn.Module):
    """Compares what one or more taps of the student read with what taps of the teachers read.

    Its adapters and the parameters of its loss, if any, train with the student.

    Args:
        name: Name in the config, and in the log.
        student: The student, to resolve taps on.
        teachers: Teachers by name.
        loss: Component dict of a loss; any of its numbers may be a schedule.
        student_tap: Tap of the student, or dict of loss input to tap.
        teacher_tap: Tap of a teacher (``"name:path"`` with several), or dict of loss input to tap.
        adapter: Component dict, list of them applied in order, or dict of loss input to either.
        batch: Loss input to dotted path in the student's batch, where the loss's own default does not fit.
        weight: Factor of its terms in the total: a number or a schedule.

    Raises:
        UsageError: For anything that does not fit, with the key path.
    """

    def __init__(
        self,
        name: str,
        student: nn.Module,
        teachers: Mapping[str, Teacher],
        *,
        loss: Any,
        student_tap: Any,
        teacher_tap: Any = None,
        adapter: Any = None,
        batch: Mapping[str, str] | None = None,
        weight: Any = 1.0,
    ) -> None:
        super().__init__()
        where = f"model.objectives.{name}"
        self.name = name
        self.where = where
        self.spec = loss_spec(loss)
        self.loss_type = component_type(loss)
        loss, self._schedules = _split_schedules(loss, f"{where}.loss")
        self.loss: nn.Module = build("loss", loss, where=f"{where}.loss")
        if not isinstance(self.loss, nn.Module):
            raise fault(f"{where}.loss", self.loss_type, "is no torch.nn.Module", "derive it from one")
        for attribute in self._schedules:
            if not hasattr(self.loss, attribute):
                raise UsageError(
                    f"{type(self.loss).__name__} keeps no attribute {attribute!r} that a schedule could drive",
                    where=f"{where}.loss.{attribute}",
                    fix="write a number",
                )
        self.inputs = inputs_of(self.loss, self.spec)
        self.student_taps = student_taps(student_tap, self.inputs, student, f"{where}.student")
        self.teacher_taps = teacher_taps(teacher_tap, self.inputs, teachers, student, f"{where}.teacher")
        batch = _require_paths(batch, f"{where}.batch")
        self._fields = {**self.inputs.fields, **side(batch, self.inputs.batch, f"{where}.batch")}
        bound = {*self.student_taps, *self.teacher_taps, *self._fields}
        require_all(self.inputs, bound, where)
        require_callable(self.loss.forward, f"{where}.loss", self.loss_type, **{name: name for name in sorted(bound)})
        chains = _chains(adapter, self.inputs, f"{where}.adapter")
        self.partners = {name: _require_partner(self.inputs, name, bound, f"{where}.adapter") for name in chains}
        self.adapter_types = {name: [component_type(entry) for entry in chain] for name, chain in chains.items()}
        self.adapters = nn.ModuleDict({name: nn.ModuleList(chain) for name, chain in _built(chains, where).items()})
        self.weight = as_schedule(weight, f"{where}.weight")

    @property
    def compares_classes(self) -> bool:
        """Whether class order matters: the loss compares logits."""
        return self.spec is not None and "logits" in self.spec.tags

    @property
    def match(self) -> str:
        """What both sides must share: ``shape``, ``batch`` or ``nothing``."""
        return self.spec.match if self.spec is not None else "nothing"

    @property
    def reads_batch(self) -> bool:
        """Whether the loss hears a mask, labels or anything else of the batch."""
        return bool(self._fields)

    def taps(self) -> list[Tap]:
        """Return every tap of both sides."""
        return [*self.student_taps.values(), *(tap for _, tap in self.teacher_taps.values())]

    def gather(self, batch: BatchFields) -> dict[str, Any]:
        """Read all taps and fields of one step, and bring the student's values into the teacher's space.

        Args:
            batch: Fields of the student's preprocessed batch.

        Returns:
            Loss input to value, not yet raised to float32; teacher values carry no gradient.
        """
        values = {name: map_tensors(_target, tap.read()) for name, (_, tap) in self.teacher_taps.items()}
        values |= {name: tap.read() for name, tap in self.student_taps.items()}
        return values | {
            name: batch.read(path, f"model.objectives.{self.name}.batch.{name}") for name, path in self._fields.items()
        }

    def adapt(self, values: dict[str, Any]) -> dict[str, Any]:
        """Apply the adapters to the values they are meant for."""
        adapted = dict(values)
        for name, chain in self.adapters.items():
            adapted[name] = self.run_adapters(chain, name, values[name], values[self.partners[name]])
        return adapted

    def run_adapters(self, chain: nn.Module, name: str, value: Any, like: Any) -> Any:
        """Run the adapters of one loss input.

        Args:
            chain: Its adapters, or copies of them.
            name: The loss input.
            value: Its value.
            like: The value of the other side, for its shape.

        Raises:
            KdhubError: Naming the adapter that fails, returns no tensor or changes the number of samples.
        """
        where = f"{self.where}.adapter"
        for adapter, type_ in zip(chain.children(), self.adapter_types[name], strict=True):
            with blamed(where, type_):
                adapted = adapter(value, like)
            if next(tensors_in(adapted), None) is None:
                raise fault(where, type_, f"returned {describe(adapted)}, no tensor", "return the adapted value")
            value = adapted
        return value

    def forward(self, values: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """Compute the unweighted terms in float32, whatever autocast does around it.

        Args:
            values: Loss input to value, adapted.
            step: Position of the run, for scheduled numbers of the loss.

        Returns:
            Log name to scalar: ``loss_<objective>``, or ``loss_<objective>_<term>`` for a loss of several terms.
        """
        for attribute, schedule in self._schedules.items():
            setattr(self.loss, attribute, schedule(step))
        return self.terms_of(self.loss, values)

    def terms_of(self, loss: nn.Module, values: Mapping[str, Any]) -> dict[str, Tensor]:
        """Compute the terms with the loss, or with a copy of it, as it stands.

        A loss that compares entry by entry meets the levels of a feature pyramid one after the other: the terms are
        ``loss_<objective>_<level>``.

        Raises:
            KdhubError: If it fails, or returns anything but a scalar or a dict of scalars.
        """
        if self.match == "shape" and (pyramids := self._pyramids(values)):
            levels = enumerate(by_level(values, pyramids))
            found = {level: self.terms_of(loss, of_level) for level, of_level in levels}
            name = f"loss_{self.name}"
            return {
                f"{name}_{level}{term.removeprefix(name)}": value
                for level, terms in found.items()
                for term, value in terms.items()
            }
        where = f"{self.where}.loss"
        device_type = next((tensor.device.type for tensor in tensors_in(values)), "cpu")
        with torch.autocast(device_type, enabled=False), blamed(where, self.loss_type):
            result = loss(**{name: to_float32(value) for name, value in values.items()})
        if not isinstance(result, Mapping):
            return {f"loss_{self.name}": self._term(result)}
        terms = {f"loss_{self.name}_{str(key).removeprefix('loss_')}": self._term(one) for key, one in result.items()}
        if len(terms) < len(result):
            raise fault(
                where, self.loss_type, f"returned {', '.join(map(str, result))}: two terms of one name", "rename one"
            )
        return terms

    def _pyramids(self, values: Mapping[str, Any]) -> list[str]:
        sides = {*self.student_taps, *self.teacher_taps}
        pyramids = [name for name in values if name in sides and is_pyramid(values[name])]
        return pyramids if len(pyramids) == len(sides) and len({len(values[name]) for name in pyramids}) == 1 else []

    def _term(self, value: Any) -> Tensor:
        if isinstance(value, Tensor) and value.shape == () and value.is_floating_point():
            return value
        got = describe(value) if isinstance(value, Tensor | list | tuple | Mapping) else repr(value)
        raise fault(
            f"{self.where}.loss",
            self.loss_type,
            f"returned {got} where a term should be",
            "return a floating-point tensor of shape (), such as .mean() of the samples' losses, or a dict of such tensors",
        )


def _target(tensor: Tensor) -> Tensor:
    """Cut off the gradient, and lay out a live teacher's value as a stored one is: a loss may ``view`` it."""
    return tensor.detach().contiguous()


def loss_spec(loss: Any) -> LossSpec | None:
    """Return the record of the loss that a config means, or ``None`` for one that no manifest lists."""
    type_ = loss.get("type") if isinstance(loss, Mapping) else None
    record = find(type_, "loss") if type_ is not None else None
    return record if isinstance(record, LossSpec) else None


def _split_schedules(loss: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """Replace each schedule among a loss's numbers by its value at step 0, and keep the schedule."""
    if not isinstance(loss, Mapping):
        return loss, {}
    schedules = {
        key: as_schedule(value, f"{where}.{key}")
        for key, value in loss.items()
        if isinstance(value, Mapping) and _is_schedule(value)
    }
    return {**loss, **{key: schedule(0) for key, schedule in schedules.items()}}, schedules


def _is_schedule(value: Mapping[str, Any]) -> bool:
    type_ = value.get("type")
    record = find(type_) if isinstance(type_, str) else None
    return record is not None and record.kind == "schedule"


def _chains(spec: Any, inputs: Inputs, where: str) -> dict[str, list[Any]]:
    """Return the configs of the adapters in order, by loss input."""
    if isinstance(spec, list | tuple):
        spec = {inputs.student[0]: list(spec)} if len(inputs.student) == 1 else spec
    by_input = side(spec, inputs.student if _is_component(spec) else inputs.student + inputs.teacher, where)
    chains = {name: list(chain) if isinstance(chain, list | tuple) else [chain] for name, chain in by_input.items()}
    return {name: chain for name, chain in chains.items() if chain}


def _require_paths(batch: Any, where: str) -> dict[str, str]:
    """Return what an objective reads from the batch, by loss input."""
    batch = {} if batch is None else batch
    if not isinstance(batch, Mapping) or not all(isinstance(path, str) for path in batch.values()):
        raise UsageError(
            "not a dict of loss input to path in the batch",
            where=where,
            expected="dict(labels='labels')",
            got=repr(batch),
        )
    return dict(batch)


def _built(chains: Mapping[str, list[Any]], where: str) -> dict[str, list[nn.Module]]:
    built = {name: [build("adapter", one, where=f"{where}.adapter") for one in chain] for name, chain in chains.items()}
    for name, chain in built.items():
        for adapter, spec in zip(chain, chains[name], strict=True):
            if not isinstance(adapter, nn.Module):
                raise fault(f"{where}.adapter", component_type(spec), "is no torch.nn.Module", "derive it from one")
            require_callable(adapter.forward, f"{where}.adapter", component_type(spec), "value", "like")
    return built


def _require_partner(inputs: Inputs, name: str, bound: Collection[str], where: str) -> str:
    """Return the loss input whose shape an adapter aims at."""
    other = partner(inputs, name)
    if other is None or other not in bound:
        raise UsageError(
            f"the adapter has nothing to fit {name!r} to: the loss compares it with no "
            + ("other input" if other is None else f"{other!r} here"),
            where=where,
            expected="an adapter on an input that has a partner on the other side",
            fix="leave the adapter out, or tap the other side too"
            if other
            else "leave the adapter out, or put it into the model or the loss",
        )
    return other


def _is_component(spec: Any) -> bool:
    return isinstance(spec, Mapping) and "type" in spec
