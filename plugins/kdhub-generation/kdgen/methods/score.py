"""Score distillation: the student's gradient is what two denoisers, asked about its noised samples, disagree on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdgen.denoiser import Denoiser
from kdgen.discriminator import STEPS_WON, Discriminator, Watch, real_samples
from kdgen.distiller import Draw, GeneratorDistiller, LossOf, copy_of, denoiser, require_signal
from kdgen.lora import add_lora
from kdgen.losses import dmd_gradient, inject, vsd_gradient, weighted_noise_error
from kdhub.api import UsageError, build, choice, number, require


class SDS(GeneratorDistiller):
    """Score distillation sampling (DreamFusion, arXiv 2209.14988) into a generator: the rival without a fake score.

    The student's samples are noised, and what the teacher takes for noise beyond the noise that was added is their gradient. It
    seeks modes: generators collapse.

    Args:
        student: The generator, a `kdgen.Denoiser`.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        guidance_scale: The teacher's guidance w.
        t_low: Lower end of the times, as a fraction of the schedule.
        t_high: Their upper end.
        student_init: ``"teacher"`` begins with the teacher's weights.
        student_update_freq: The student is updated in every n-th step.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        guidance_scale: float = 1.0,
        t_low: float = 0.02,
        t_high: float = 0.98,
        student_init: str | None = None,
        student_update_freq: int = 1,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(student, teacher, student_init, student_update_freq, data_preprocessor, init_cfg)
        self.teacher.require_guidable(guidance_scale, "model.guidance_scale")
        if not 0 <= t_low < t_high <= 1:
            raise UsageError(
                "not a range of fractions",
                where="model.t_low, model.t_high",
                got=f"{t_low}, {t_high}",
                expected="0 <= t_low < t_high <= 1",
            )
        self.guidance_scale, self.t_low, self.t_high = guidance_scale, t_low, t_high
        require_signal(self.student)

    def losses(self) -> Mapping[str, LossOf]:
        """Update the student."""
        return {"student": self.student_loss}

    def student_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_score``, whose value says little: its gradient is what counts."""
        sample = self.make(draw)
        t = self.teacher.noise.draw(len(sample), self.t_low, self.t_high, sample.device)
        eps = torch.randn_like(sample)
        with torch.no_grad():
            x_t = self.teacher.noise.add_noise(sample, eps, t)
            gradient = self.gradient(sample.detach(), x_t, t, eps, draw.labels)
        return {"loss_score": inject(sample, self.finite(gradient, t)), **self.further_terms(sample, draw)}

    def further_terms(self, sample: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Return what else the student's samples (B, ...) are held to: nothing."""
        return {}

    def gradient(self, sample: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, labels: Tensor | None) -> Tensor:
        """Return the gradient of the samples (B, ...)."""
        real = self.teacher.predict(x_t, t, labels, to="eps", guidance_scale=self.guidance_scale)
        return vsd_gradient(real, eps, t, self.teacher.noise)


class SwiftBrush(SDS):
    """Variational score distillation of a one-step generator (SwiftBrush, CVPR 2024, arXiv 2312.05239); DMD-like with ``weighting``.

    The fake score, a copy of the teacher or a network of its own, learns to denoise what the student makes. Where teacher and fake
    score agree, the student has nothing to learn. The student is updated first, the fake score after it, both on the same samples.

    Args:
        student: The generator, a `kdgen.Denoiser`.
        teacher: The teacher; see `kdgen.distiller.GeneratorDistiller`.
        fake_score: ``"teacher"`` for a copy of the teacher, or a `kdgen.Denoiser`.
        lora: Arguments of `kdgen.lora.add_lora`: ``dict(target_modules=['to_q', 'to_v'], rank=64, alpha=108)`` is the
            paper's. ``None`` trains the whole fake score.
        guidance_scale: Guidance w of the teacher; 4.5 in the paper.
        fake_guidance_scale: That of the fake score. The released code takes w here too; ``None`` does so, DMD takes 1.
        weighting: ``sigma2``, the paper's, or ``dmd``: x0 predictions over their mean distance (arXiv 2311.18828).
        fake_weighting: ``alpha2``, that of the released code, or ``none``.
        null_probability: Probability that the fake score learns a whole batch without labels; 0.1 in the paper, where guidance
            asks for it.
        discriminator: ``dict(type='kdgen.Discriminator', net=...)`` adds the role ``discriminator``, which compares with data, as DMD2
            does; batches then have ``real``. ``None`` for none, the paper's.
        t_low: Lower end of the times of the student's loss, as a fraction of the schedule.
        t_high: Their upper end; the fake score learns at all times.
        student_init: ``"teacher"`` begins with the teacher's weights.
        student_update_freq: The student is updated in every n-th step, the fake score in each.
        data_preprocessor: Moves a batch to the device by default.
        init_cfg: mmengine's.
    """

    roles_that_train: ClassVar[tuple[str, ...]] = ("student", "fake_score")

    def __init__(
        self,
        student: Any,
        teacher: Any,
        fake_score: Any = "teacher",
        lora: Mapping[str, Any] | None = None,
        guidance_scale: float = 1.0,
        fake_guidance_scale: float | None = None,
        weighting: str = "sigma2",
        fake_weighting: str = "alpha2",
        null_probability: float = 0.1,
        discriminator: Any = None,
        t_low: float = 0.02,
        t_high: float = 0.98,
        student_init: str | None = None,
        student_update_freq: int = 1,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(
            student,
            teacher,
            guidance_scale,
            t_low,
            t_high,
            student_init,
            student_update_freq,
            data_preprocessor,
            init_cfg,
        )
        require("model", choice(("sigma2", "dmd")), weighting=weighting)
        require("model", choice(("alpha2", "none")), fake_weighting=fake_weighting)
        require("model", number(at_least=0, at_most=1), null_probability=null_probability)
        self.fake_score = _fake_score(fake_score, self.teacher)
        if lora is not None:
            add_lora(self.fake_score.net, **lora)
        self.fake_guidance_scale = guidance_scale if fake_guidance_scale is None else fake_guidance_scale
        self.fake_score.require_guidable(self.fake_guidance_scale, "model.fake_guidance_scale")
        self.weighting, self.fake_weighting, self.null_probability = weighting, fake_weighting, null_probability
        self._watch = Watch()
        if discriminator is not None:
            self.discriminator = _discriminator(discriminator)
            self.roles_that_train = (*self.roles_that_train, "discriminator")  # type: ignore[misc]

    @property
    def target(self) -> Denoiser:
        """What the student is drawn towards: the teacher."""
        return self.teacher

    def losses(self) -> Mapping[str, LossOf]:
        """Update the student first, then the fake score and the discriminator, if there is one."""
        found = {"student": self.student_loss, "fake_score": self.fake_score_loss}
        return {**found, "discriminator": self.discriminator_loss} if "discriminator" in self.roles else found

    def gradient(self, sample: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, labels: Tensor | None) -> Tensor:
        """Return the gradient of the samples (B, ...)."""
        to = "x0" if self.weighting == "dmd" else "eps"
        real = self.target.predict(x_t, t, labels, to=to, guidance_scale=self.guidance_scale)
        fake = self.fake_score.predict(x_t, t, labels, to=to, guidance_scale=self.fake_guidance_scale)
        if self.weighting == "dmd":
            return dmd_gradient(sample, real, fake)
        return vsd_gradient(real, fake, t, self.teacher.noise)

    def fake_score_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_denoising`` of the fake score on what the student made."""
        sample, labels = self.made(draw), draw.labels
        if self.fake_score.classes and self.null_probability and float(torch.rand(())) < self.null_probability:
            labels = None
        return {"loss_denoising": noise_error(self.fake_score, sample, labels, self.fake_weighting)}

    def further_terms(self, sample: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_adversarial``, where there is a discriminator."""
        if "discriminator" not in self.roles:
            return {}
        return {"loss_adversarial": self.discriminator.student_term(sample, draw.labels, self.teacher.noise)}

    def discriminator_loss(self, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_discriminator``, and ``told_apart``, the share of samples that it is right about."""
        real, made = real_samples(draw.more), self.made(draw)
        loss, right = self.discriminator.own_loss(real, made, draw.labels, self.teacher.noise)
        if self._watch.won(float(right)):
            self.say_once(
                "won",
                f"the discriminator has won: for {STEPS_WON} steps it has told {float(right):.0%} of the samples apart, so what it"
                " teaches the student is hardly more than noise; lower its learning rate, or give its loss less weight",
            )
        return {"loss_discriminator": loss, "told_apart": right}

    def guard_state(self) -> dict[str, Any]:
        """Return what warnings remember of earlier steps, for a checkpoint."""
        return {**super().guard_state(), "steps_won": self._watch.steps}

    def load_guard_state(self, state: Mapping[str, Any]) -> None:
        """Let warnings remember what `guard_state` gave."""
        super().load_guard_state(state)
        self._watch.steps = int(state.get("steps_won", 0))


def noise_error(model: Denoiser, sample: Tensor, labels: Tensor | None, weighting: str) -> Tensor:
    """Return how badly a model finds the noise in samples (B, ...), at times over its whole schedule."""
    t = model.noise.draw(len(sample), device=sample.device)
    eps = torch.randn_like(sample)
    said = model.predict(model.noise.add_noise(sample, eps, t), t, labels, to="eps")
    return weighted_noise_error(said, eps, t, model.noise, weighting)


def _discriminator(spec: Any) -> Discriminator:
    made = build("model", spec, where="model.discriminator")
    if not isinstance(made, Discriminator):
        raise UsageError(
            "not a discriminator",
            where="model.discriminator",
            expected="dict(type='kdgen.Discriminator', net=...)",
            got=type(made).__name__,
        )
    return made


def _fake_score(spec: Any, teacher: Denoiser) -> Denoiser:
    if spec == "teacher":
        made = copy_of(teacher)
        if not any(True for _ in made.parameters()):
            raise UsageError(
                "the teacher has no weights, so a copy of it cannot learn",
                where="model.fake_score",
                fix="give a network: fake_score=dict(type='kdgen.Denoiser', ...)",
            )
        return made
    made = denoiser(build("model", spec, where="model.fake_score"), "model.fake_score")
    teacher.noise.require_same(made.noise, "model.fake_score")
    return made
