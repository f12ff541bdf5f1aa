"""Mixed images: made on the device, before student and teacher see them, so that both see the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor
from torch.nn import functional

from kdhub.api import FLAG, UsageError, build, describe, integer, number, require


class Mixup:
    """Each image mixed with another of the batch, and their labels with the same share; most of them left clean.

    With two permutations r₁, r₂ and λ ~ Beta(α, α) for each sample: ``x = λ x[r₁] + (1 − λ) x[r₂]``, the labels alike. Where a teacher teaches,
    mixing few images is better than mixing all: both mixing and the teacher smooth the targets.

    Args:
        num_classes: Classes, for the width of the soft labels.
        alpha: α; 1.0, the default, draws any share alike.
        clean: Share of the batch that is not mixed. 0.9, the default, is the paper's partial mixup, "about 10 % mixed"; 0 mixes all.
        replacement: How the clean ones are drawn. ``False`` takes exactly that share. ``True`` draws with replacement, as the authors'
            code does, where some are drawn twice: with 0.9, some 41 % of the batch are mixed then.

    References:
        - Choi et al., arXiv 2211.03946 (WACV 2023); code hchoi71/MIX-KD. Mixup: Zhang et al., arXiv 1710.09412.
    """

    def __init__(self, num_classes: int, alpha: float = 1.0, clean: float = 0.9, replacement: bool = False) -> None:
        require("Mixup", integer(2), num_classes=num_classes)
        require("Mixup", number(above=0), alpha=alpha)
        require("Mixup", number(at_least=0), clean=clean)
        require("Mixup", FLAG, replacement=replacement)
        if clean > 1:
            raise UsageError("Mixup: bad clean", expected="a share from 0 to 1", got=repr(clean))
        self.num_classes, self.alpha, self.clean, self.replacement = num_classes, alpha, clean, replacement

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            inputs: Images (B, ...), of floating type.
            labels: Classes (B,), or soft labels (B, num_classes).

        Returns:
            Images of the same shape, and soft labels (B, num_classes).

        Raises:
            UsageError: For labels that are neither.
        """
        soft = self._soft(labels, len(inputs))
        # on the CPU: its random numbers are what a checkpoint brings back on every device
        share = torch.distributions.Beta(self.alpha, self.alpha).sample((len(inputs),))
        first, second = torch.randperm(len(inputs)), torch.randperm(len(inputs))
        share[self._left_clean(len(inputs))] = 1.0
        share = share.to(inputs)
        first, second = first.to(inputs.device), second.to(inputs.device)
        return _mixed(inputs, first, second, share), _mixed(soft, first, second, share)

    def _left_clean(self, batch: int) -> Tensor:
        count = int(batch * self.clean)
        return torch.randint(batch, (count,)) if self.replacement else torch.randperm(batch)[:count]

    def _soft(self, labels: Tensor, batch: int) -> Tensor:
        if labels.is_floating_point() and labels.shape == (batch, self.num_classes):
            return labels
        if labels.is_floating_point() or labels.shape != (batch,):
            raise UsageError(
                "Mixup cannot read the labels",
                expected=f"classes ({batch},) or soft labels ({batch}, {self.num_classes})",
                got=describe(labels),
            )
        if labels.is_cpu and batch and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise UsageError(
                "Mixup: a label is no class",
                expected=f"0 to {self.num_classes - 1}",
                got=f"{int(labels.min())} to {int(labels.max())}",
            )
        return functional.one_hot(labels.long(), self.num_classes).float()


def _mixed(value: Tensor, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    share = share.to(value.dtype).view(-1, *[1] * (value.ndim - 1))
    return share * value[first] + (1 - share) * value[second]


class MixingPreprocessor(ImgDataPreprocessor):
    """Normalises images, and mixes those of a training batch: the ``data_preprocessor`` of a student that learns from mixed images.

    The teacher must see the same images: ``batch='student'`` on its `kdhub.ModelTeacher`; kdhub refuses any other, and stored teachers. Labels are soft
    then: the student's cross-entropy and `kdcls.OFAKD` take them, `kdcls.PLD` and `kdcls.DKD` refuse them.

    Args:
        mean: Mean of each channel, in the unit of the images.
        std: Standard deviation; both or none.
        batch_augments: What mixes, called with images and labels: ``dict(type='kdcls.Mixup', ...)``, or
            ``dict(type='timm.data.Mixup', ...)``, which has CutMix too. ``None`` mixes nothing.
    """

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, batch_augments: Any = None
    ) -> None:
        super().__init__(mean=mean, std=std)
        self.batch_augments = (
            None
            if batch_augments is None
            else build("transform", batch_augments, where="MixingPreprocessor.batch_augments")
        )

    def forward(self, data: Any, training: bool = False) -> Any:
        """Normalise, and in training mix.

        Args:
            data: ``dict(inputs=..., labels=...)``.
            training: Whether to mix.

        Raises:
            UsageError: If there is something to mix and the batch has no labels.
        """
        data = super().forward(data, training)
        if not training or self.batch_augments is None:
            return data
        if not isinstance(data.get("labels"), Tensor):
            raise UsageError(
                "images are mixed together with their labels, and the batch has none as one tensor",
                where="MixingPreprocessor",
                got=", ".join(data),
                fix="name them by TorchModel.labels",
            )
        inputs, labels = self.batch_augments(data["inputs"], data["labels"])
        return {**data, "inputs": inputs, "labels": labels}
