"""`GeneratorDistiller`: what all methods share, from the teacher to the step in which each role is updated."""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from kdgen.denoiser import Denoiser
from kdhub.api import LossSpec, Position, Tap, Teacher, UsageError, build, choice, integer, optional, require

_COLLAPSED = 0.1
"""The share of its largest spread below which the samples of a generator are said to collapse."""

_STEPS_COLLAPSED = 200
"""For so many steps in a row; at the beginning a generator may pass through a point."""

_LEAST_SIGNAL = 0.01
"""The least share of alpha in sigma at which a generator may predict noise; Stable Diffusion's schedule ends at 0.069."""


@dataclass
class Draw:
    """What the roles share in one step.

    Attributes:
        noise: Unit noise (B, ...).
        labels: Labels (B,).
        sample: What the student made of it (B, ...), without gradient, once it has.
        more: What else is in the batch, such as ``real``, samples of the data.
    """

    noise: Tensor
    labels: Tensor | None
    sample: Tensor | None = None
    more: Mapping[str, Tensor] = field(default_factory=dict)


LossOf = Callable[[Draw], dict[str, Tensor]]


class GeneratorDistiller(BaseModel):
    """The base of all methods: a student, a frozen teacher, and further roles, each with its own optimizer.

    A method says in `losses` which loss updates which role, in which order. While a role is updated, the parameters of all others
    need no gradient, so that none reaches them through a shared graph. The teacher is in neither optimizer nor checkpoint, and a
    method may let gradients pass through it. Validation and export are the student's own.

    Args:
        student: The generator: a `kdgen.Denoiser`.
        teacher: A teacher of the core around a `kdgen.Denoiser`: ``dict(type='kdhub.ModelTeacher', model=..., checkpoint=...)``.
        student_init: ``"teacher"`` begins with the teacher's weights; ``None`` as the student is built.
        student_update_freq: The student is updated in every n-th step, other roles in each.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.

    Attributes:
        roles_that_train: Names of the roles, for the check of a config, which builds nothing.
    """

    roles_that_train: ClassVar[tuple[str, ...]] = ("student",)

    def __init__(
        self,
        student: Any,
        teacher: Any,
        student_init: str | None = None,
        student_update_freq: int = 1,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        require("model", optional(choice(("teacher",))), student_init=student_init)
        require("model", integer(1), student_update_freq=student_update_freq)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.student: Denoiser = denoiser(build("model", student, where="model.student"), "model.student")
        self._teachers: dict[str, Teacher] = {
            "teacher": build("teacher", teacher, where="model.teacher", student=self.student)
        }
        denoiser(self._teachers["teacher"].model, "model.teacher")
        if student_init == "teacher":
            take_weights(self.student, self.teacher, "model.student_init")
        self.student_update_freq = student_update_freq
        self.position = Position()
        self._largest_spread, self._narrow_steps = 0.0, 0
        self._said: set[str] = set()

    @property
    def teacher(self) -> Denoiser:
        """The frozen model of the teacher."""
        model: Any = self._teachers["teacher"].model
        return model

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """Teachers by name."""
        return self._teachers

    @property
    def roles(self) -> dict[str, nn.Module]:
        """What trains, by role."""
        return {role: getattr(self, role) for role in self.roles_that_train}

    @abstractmethod
    def losses(self) -> Mapping[str, LossOf]:
        """Return each role's loss, in the order in which they are updated; the names of its terms contain ``loss``."""

    def taps_of(self, teacher: str) -> list[Tap]:
        """Return nothing: methods ask their teacher themselves."""
        return []

    def specs_of(self, teacher: str) -> dict[str, LossSpec | None]:
        """Return nothing: methods are not made of objectives."""
        return {}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """Update each role that is due, in order.

        Args:
            data: The collated batch: ``inputs``, unit noise (B, ...), and ``labels`` (B,) if there are any.
            optim_wrapper: Wrappers by role, or one alone for a method of one role.

        Returns:
            ``loss``, that of the first role, and every term under ``<role>.<term>``.
        """
        batch = self.data_preprocessor(data, True)
        more = {name: value for name, value in batch.items() if name not in ("inputs", "labels")}
        draw, logs = Draw(batch["inputs"], batch.get("labels"), more=more), dict[str, Tensor]()
        for role, loss_of in self.losses().items():
            if role == "student" and self.position.step % self.student_update_freq:
                continue
            wrapper = self._wrapper(optim_wrapper, role)
            with self._alone(role), wrapper.optim_context(self.roles[role]):
                terms = loss_of(draw)
            loss = torch.stack([value for name, value in terms.items() if "loss" in name]).sum()
            wrapper.update_params(loss)
            logs |= {f"{role}.{name}": value.detach() for name, value in terms.items()}
            if role == self.roles_that_train[0]:
                logs["loss"] = loss.detach()
        # one sample alone has no spread
        if draw.sample is not None and len(draw.sample) > 1 and "student" in self.roles_that_train:
            logs["sample_spread"] = self._spread(draw.sample)
        self.position.advance()
        return logs

    def make(self, draw: Draw) -> Tensor:
        """Let the student make samples (B, ...) of a draw, and keep them for the other roles."""
        sample = self.student.generate(draw.noise, draw.labels)
        draw.sample = sample.detach()
        return sample

    def made(self, draw: Draw) -> Tensor:
        """Return what the student made of a draw (B, ...), without gradient; made now if it has not been."""
        if draw.sample is None:
            with torch.no_grad():
                draw.sample = self.make(draw)
        return draw.sample

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        """Run the student.

        Raises:
            UsageError: In mode ``loss``: several roles need `train_step`.
        """
        if mode == "loss":
            raise UsageError(f"{type(self).__name__} has one loss for each role", fix="train with its train_step")
        return self.student(inputs, labels, mode=mode)

    def val_step(self, data: Any) -> Any:
        """Sample with the student."""
        return self.student.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Sample with the student."""
        return self.student.test_step(data)

    def finite(self, gradient: Tensor, t: Tensor) -> Tensor:
        """Put 0 where the gradient of a sample (B, ...) is no number, and say once at which times (B,) that was.

        Raises:
            UsageError: If no sample has a gradient.
        """
        good = gradient.flatten(1).isfinite().all(dim=1)
        if bool(good.all()):
            return gradient
        times = ", ".join(f"{float(one):g}" for one in t[~good][:5])
        if not bool(good.any()):
            raise UsageError(
                f"every score is NaN or infinite in step {self.position.step}",
                where="model.teacher",
                got=f"time steps {times}",
                fix="check the weights of teacher and fake score, and that noise and pred_type are those they were trained with",
            )
        self.say_once("nan", f"scores are NaN or infinite at time steps {times}: these samples give no gradient")
        return gradient.nan_to_num(0.0, 0.0, 0.0)

    def say_once(self, key: str, text: str) -> None:
        """Warn, once in a run."""
        if key not in self._said:
            self._said.add(key)
            print_log(f"step {self.position.step}: {text}", "current", logging.WARNING)

    def guard_state(self) -> dict[str, Any]:
        """Return what warnings remember of earlier steps, for a checkpoint."""
        return {
            "largest_spread": self._largest_spread,
            "narrow_steps": self._narrow_steps,
            "said": sorted(self._said),
        }

    def load_guard_state(self, state: Mapping[str, Any]) -> None:
        """Let warnings remember what `guard_state` gave."""
        self._largest_spread, self._narrow_steps = float(state["largest_spread"]), int(state["narrow_steps"])
        self._said = set(state["said"])

    def _spread(self, sample: Tensor) -> Tensor:
        spread = sample.float().std(dim=0).mean()
        value = float(spread)
        self._largest_spread = max(self._largest_spread, value)
        self._narrow_steps = self._narrow_steps + 1 if value < _COLLAPSED * self._largest_spread else 0
        if self._narrow_steps == _STEPS_COLLAPSED:
            self.say_once(
                "collapse",
                f"the samples are hardly different any more, so the generator has collapsed: their spread is {value:.3g} and was"
                f" {self._largest_spread:.3g}; let the fake score learn faster, or update the student more rarely"
                " (student_update_freq)",
            )
        return spread

    @contextmanager
    def _alone(self, role: str) -> Iterator[None]:
        """Let no other role's parameters need a gradient."""
        others = [module for name, module in self.roles.items() if name != role]
        frozen = [one for module in others for one in module.parameters() if one.requires_grad]
        for one in frozen:
            one.requires_grad_(False)
        try:
            yield
        finally:
            for one in frozen:
                one.requires_grad_(True)

    def _wrapper(self, optim_wrapper: Any, role: str) -> OptimWrapper:
        if isinstance(optim_wrapper, OptimWrapperDict):
            return optim_wrapper[role]
        if len(self.roles_that_train) > 1:
            raise UsageError(
                f"{type(self).__name__} has several roles, and here is one optimizer",
                where="optim_wrapper",
                expected=", ".join(self.roles_that_train),
                fix="optim_wrapper=dict(constructor='kdgen.RoleOptimizers', student=dict(...), ...)",
            )
        return optim_wrapper

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        for teacher in self._teachers.values():
            teacher.to(device)


def denoiser(model: Any, where: str) -> Denoiser:
    """See that a model is a `Denoiser`, of which methods know what it predicts and when."""
    if not isinstance(model, Denoiser):
        raise UsageError(
            "not a kdgen.Denoiser, so nobody knows what it predicts",
            where=where,
            got=type(model).__name__,
            fix="dict(type='kdgen.Denoiser', net=..., noise=..., pred_type=...); a teacher has it as its model",
        )
    return model


def require_signal(student: Denoiser) -> None:
    """See that a generator that predicts noise is called where a sample still has some signal.

    Its sample is (x - sigma eps) / alpha, so 1 / alpha magnifies all errors and gradients of the network.

    Raises:
        UsageError: If alpha at its ``t_start`` is below a hundredth of sigma; with the latest time of the schedule at which it is not.
    """
    noise, device = student.noise, next(student.buffers(), torch.empty(0)).device
    t = torch.tensor([student.t_start], device=device)
    alpha, sigma = float(noise.alpha(t)), float(noise.sigma(t))
    if student.pred_type == "eps" and alpha < _LEAST_SIGNAL * sigma:
        times = noise.at(torch.linspace(0.0, 1.0, 1001, device=device))
        latest = times[noise.alpha(times) >= _LEAST_SIGNAL * noise.sigma(times)].max()
        raise UsageError(
            f"a generator that predicts noise divides it by alpha, which is {alpha:.2g} at t = {student.t_start:g}",
            where="model.student.pred_type",
            expected="'v', 'x0' or 'flow'",
            got="'eps'",
            fix=f"let it begin where there is signal: student.t_list=[{float(latest):g}] at the latest; or give it, and a teacher whose"
            " weights it begins with, another pred_type",
        )


def take_weights(model: Denoiser, source: Denoiser, where: str) -> None:
    """Let a network begin with the weights of another.

    Raises:
        UsageError: If they are of different kinds, or one predicts something else than the other.
    """
    if model.pred_type != source.pred_type:
        raise UsageError(
            "the prediction type does not fit the teacher, whose weights it begins with",
            where=where,
            expected=f"pred_type={source.pred_type!r}",
            got=f"pred_type={model.pred_type!r}",
        )
    source.noise.require_same(model.noise, where.rpartition(".")[0] + ".student")
    try:
        model.net.load_state_dict(source.net.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError("the weights of the teacher do not fit", where=where, got=reason) from error


def copy_of(source: Denoiser) -> Denoiser:
    """Return a copy that trains."""
    return copy.deepcopy(source).requires_grad_(True).train()
