"""Contrastive representation distillation: which student feature belongs to which teacher feature, out of the whole data set."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError, choice, describe, integer, number, require, to_float32, unit_vectors


class CRD(nn.Module):
    """Each student feature is told from K others to belong to its own teacher feature, and the other way round.

    Student and teacher features pass a learned linear map to ``dim`` numbers each and become unit vectors s and t. Two banks keep
    such vectors of every training sample. For a sample y and negatives j, with c = K/n: ``P_j = exp(s·T_j/τ)/Z``, T the teacher's
    bank, and ``L_S = −mean_B (log(P_y/(P_y + c)) + Σ_j log(c/(P_j + c)))``; L_T is the same of t and the student's bank, and the
    loss is their sum. Z is a constant: n times the mean of ``exp(s·T_j/τ)`` over the first batch, one for each side. After the
    gradient is taken, the sample's rows become the unit vectors of ``momentum · row + (1 − momentum) · s``, or t.

    Args:
        in_features: Width of the student's features.
        out_features: Width of the teacher's.
        samples: n, the number of training samples. The banks hold ``2 · n · dim`` numbers, and so does every checkpoint: 51 MB of
            CIFAR-100, 1.3 GB of ImageNet.
        negatives: K. 16384, the default, is the paper's for CIFAR-100. Few, and the bound on the mutual information, log K,
            is loose.
        among: ``'other_classes'``: negatives have another label, as in the authors' code; a sample that was not yet seen counts
            as one of another class. ``'all'``: any other sample, as in the paper's equations.
        dim: Width of both embeddings; 128 in the paper.
        temperature: τ. 0.07, the default, is what the authors' code has for all its results; the paper tries 0.02 to 0.3.
        momentum: Share of the bank's row that stays; 0.5 in the code.
        seed: Seed of the draws. They depend on seed, step and sample alone, so that a resumed run draws what an undisturbed one draws.

    Inputs:
        student: Features (B, in_features) before the classifier; any float type, raised to float32.
        teacher: Features (B, out_features) of the same samples; takes no gradient, its linear map is trained.
        labels: Classes (B,), integers.
        index: Place of each sample in the training data (B,), integers: `kdcls.Indexed` puts it into the batch, and
            ``fields=['index']`` of `kdhub.TorchModel` hands it to objectives.

    References:
        - Tian, Krishnan and Isola, "Contrastive Representation Distillation", arXiv 1910.10699 (ICLR 2020), equations 9 to 19;
          code github.com/HobbitLong/RepDistiller. No card of kdhub confirms it. From the paper as published: the critic
          ``exp/(exp + N/M)``, linear maps with unit vectors, two banks with momentum, K = 16384, and weight β = 0.8. Known from
          the code alone: the constant Z, both directions summed, the positive taken from the bank, momentum 0.5, τ = 0.07 and
          negatives of other classes.
        - Ours: negatives are drawn with replacement; logarithms are taken of logits, so the code's 1e-7 is not needed; a bank
          changes when the gradient is taken and not when the loss is looked at.

    Requirements:
        Cross-entropy beside it, weight 0.8, and one process: a bank of each process would know its own share alone, and is
        refused. No mixed images: a mixture has no row in the bank.

    Relations:
        - `kdhub.Relational` and `AngleRelational` compare the samples of a batch, without a bank.
        - `kdtrg.GlobalContrast` contrasts the tokens of a batch.

    Example:
        ::

            objectives=dict(
                features=dict(
                    loss=dict(type='kdcls.CRD', in_features=256, out_features=256, samples=50000),
                    student=dict(type='kdhub.ModuleInput', path='fc'),
                    teacher=dict(type='kdhub.ModuleInput', path='fc'),
                    weight=0.8))
    """

    steps: Tensor
    constants: Tensor
    classes: Tensor
    student_bank: Tensor
    teacher_bank: Tensor
    depends_on_split = "samples"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        samples: int,
        negatives: int = 16384,
        among: str = "other_classes",
        dim: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require("CRD", integer(1), in_features=in_features, out_features=out_features, negatives=negatives, dim=dim)
        require("CRD", integer(2), samples=samples)
        require("CRD", choice(("other_classes", "all")), among=among)
        require("CRD", number(above=0), temperature=temperature)
        require("CRD", number(at_least=0), momentum=momentum)
        require("CRD", integer(0), seed=seed)
        if momentum >= 1:
            raise UsageError("CRD: bad momentum", expected="below 1: the banks would never learn", got=repr(momentum))
        self.in_features = in_features
        self.out_features = out_features
        self.samples = samples
        self.negatives = negatives
        self.among = among
        self.dim = dim
        self.temperature = temperature
        self.momentum = momentum
        self.seed = seed
        self.student_map = nn.Linear(in_features, dim)
        self.teacher_map = nn.Linear(out_features, dim)
        bound = 1 / math.sqrt(dim / 3)
        self.register_buffer("student_bank", torch.empty(samples, dim).uniform_(-bound, bound))
        self.register_buffer("teacher_bank", torch.empty(samples, dim).uniform_(-bound, bound))
        # 0: not yet set; of the student's side and of the teacher's
        self.register_buffer("constants", torch.zeros(2))
        self.register_buffer("classes", torch.full((samples,), -1, dtype=torch.long))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Compare features of the same samples; see the class for the inputs."""
        require("CRD", number(above=0), temperature=self.temperature)
        self._check(student, teacher, labels, index)
        index, labels = index.long(), labels.long()
        ours = unit_vectors(self.student_map(to_float32(student)), 1)
        theirs = unit_vectors(self.teacher_map(to_float32(teacher).detach()), 1)
        rows = torch.cat([index.unsqueeze(1), self._drawn(index, labels)], 1)
        terms, constants = [], []
        for side, bank, constant in zip(
            (ours, theirs), (self.teacher_bank, self.student_bank), self.constants.unbind(), strict=True
        ):
            logits = torch.einsum("bd,bkd->bk", side, bank[rows]) / self.temperature
            log_constant = torch.where(constant > 0, constant, logits.detach().exp().mean() * self.samples).log()
            terms.append(contrast(logits - log_constant, self.negatives / self.samples))
            constants.append(log_constant.exp())
        loss = torch.stack(terms).sum()
        if loss.requires_grad:
            update = (int(self.steps), index, labels, ours.detach(), theirs.detach(), torch.stack(constants))
            loss.register_hook(lambda _gradient: self._remember(*update))
        return loss

    def _check(self, student: Tensor, teacher: Tensor, labels: Tensor, index: Tensor) -> None:
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise UsageError(
                "CRD keeps one bank of all samples, and each process would have its own",
                expected="one process",
                got=f"{dist.get_world_size()} processes",
                fix="train in one process, or take kdhub.Relational, which needs no bank",
            )
        widths = (self.in_features, self.out_features)
        if student.ndim != 2 or teacher.ndim != 2 or (student.shape[1], teacher.shape[1]) != widths:
            raise UsageError(
                "CRD compares features of other widths",
                expected=f"student (B, {widths[0]}), teacher (B, {widths[1]})",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="set in_features and out_features, and tap the input of the classifier",
            )
        for name, value in (("labels", labels), ("index", index)):
            if not isinstance(value, Tensor) or value.shape != student.shape[:1] or value.is_floating_point():
                raise UsageError(
                    f"CRD cannot read its {name}",
                    expected=f"integers ({len(student)},)",
                    got=describe(value),
                    fix="leave mixup out" if name == "labels" else "see kdcls.Indexed",
                )
        # reading it makes a device wait; there the bank's own bounds stop the run
        if index.is_cpu and len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.samples:
            raise UsageError(
                "CRD: samples that have no row in the bank",
                expected=f"places from 0 to {self.samples - 1}",
                got=f"{int(index.min())} to {int(index.max())}",
                fix="set samples to the length of the training data",
            )

    def _drawn(self, index: Tensor, labels: Tensor) -> Tensor:
        """Draw the negatives of each sample: ``(B, K)``."""
        count = self.samples
        if self.among == "all":
            order = torch.arange(count, device=index.device)
            begin, end = index, index + 1
        else:
            # the batch's own classes are known before the bank has seen them
            ordered, order = self.classes.index_copy(0, index, labels).sort(stable=True)
            begin, end = torch.searchsorted(ordered, labels), torch.searchsorted(ordered, labels, right=True)
        others = count - (end - begin)
        if index.is_cpu and len(others) and int(others.min()) < 1:
            raise UsageError(
                "CRD has no negatives: all samples are of one class",
                expected="samples of other classes",
                fix="among='all'",
            )
        step = int(self.steps)
        # a generator for each sample: its numbers do not depend on its place in the batch
        chances = np.stack(
            [np.random.default_rng((self.seed, step, one)).random(self.negatives) for one in index.tolist()]
        )
        places = (torch.from_numpy(chances).to(others.device) * others.unsqueeze(1)).long()
        places = places + (places >= begin.unsqueeze(1)) * (end - begin).unsqueeze(1)
        return order[places]

    @torch.no_grad()
    def _remember(
        self, step: int, index: Tensor, labels: Tensor, ours: Tensor, theirs: Tensor, constants: Tensor
    ) -> None:
        """Keep what one step has shown, once, however often its gradient is taken."""
        if int(self.steps) != step:
            return
        for bank, seen in ((self.student_bank, ours), (self.teacher_bank, theirs)):
            bank[index] = functional.normalize(self.momentum * bank[index] + (1 - self.momentum) * seen, dim=1)
        self.classes[index] = labels
        self.constants.copy_(constants)
        self.steps += 1


def contrast(log_ratios: Tensor, prior: float) -> Tensor:
    """Return the noise-contrastive loss of rows whose first entry is the positive.

    Args:
        log_ratios: log P, ``(B, 1 + K)``.
        prior: c = K/n, the density of the noise times the number of its draws.

    Returns:
        ``−mean_B (log(P_0/(P_0 + c)) + Σ_k log(c/(P_k + c)))``.
    """
    margin = log_ratios - math.log(prior)
    return -(functional.logsigmoid(margin[:, 0]) + functional.logsigmoid(-margin[:, 1:]).sum(1)).mean()
