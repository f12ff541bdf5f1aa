"""`MixedData`: images that are mixed as they are loaded, so that a store can hold a teacher's answers to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from kdcls.long_tail import class_names, fingerprint_of, labels_of
from kdhub.api import UsageError, describe, number, require


class MixedData(Dataset[tuple[Tensor, Tensor]]):
    """A data set of which some images, drawn anew each time, are mixed with another one, and their labels alike.

    ``x = λ x_i + (1 − λ) x_j`` with λ ~ Beta(α, α) and j any sample. `kdcls.Mixup` mixes within a batch, and no store can hold what a teacher says
    of batches; here a sample alone decides, so `kdhub.StoredTeacher` with ``draws=n`` replays it. Labels are soft: see `kdcls.Mixup`.

    Args:
        data: A map-style data set of tensors, all of one shape, with ``targets`` or ``labels``, such as `kdcls.ImageFolder` with a transform.
        alpha: α; 1.0, the default, draws any share alike.
        clean: Probability that an image is left as it is: 0.9, the default, is the paper's partial mixup; 0 mixes all.

    Raises:
        UsageError: If the data set does not say its labels, or its samples are no tensors.

    References:
        - Choi et al., arXiv 2211.03946 (WACV 2023), which mixes within a batch. Mixup: Zhang et al., arXiv 1710.09412.

    Example:
        ::

            dataset=dict(
                type='kdhub.TorchDataset',
                data=dict(
                    type='kdcls.MixedData',
                    data=dict(
                        type='kdcls.ImageFolder',
                        root='data/caltech24/train.zip',
                        transform=dict(type='timm.data.create_transform', input_size=128, is_training=True))))
    """

    def __init__(self, data: Any, alpha: float = 1.0, clean: float = 0.9) -> None:
        require("MixedData", number(above=0), alpha=alpha)
        require("MixedData", number(at_least=0), clean=clean)
        if clean > 1:
            raise UsageError("MixedData: bad clean", expected="a share from 0 to 1", got=repr(clean))
        self.data, self.alpha, self.clean = data, alpha, clean
        self.targets = labels_of(data, "MixedData")
        self.classes = class_names(data) or tuple(map(str, range(int(self.targets.max(initial=-1)) + 1)))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image, float32, and its soft label (classes,)."""
        image, label = self._sample(index)
        if float(torch.rand(())) < self.clean:
            return image, label
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        other, of_other = self._sample(int(torch.randint(len(self), ())))
        return share * image + (1 - share) * other, share * label + (1 - share) * of_other

    def fingerprint(self) -> str:
        """Identify the samples; how they are mixed is in the config."""
        return fingerprint_of(self.data, "mixed", self.targets.tolist())

    def _sample(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.data[index][0]
        if not isinstance(image, Tensor):
            raise UsageError(
                "MixedData mixes tensors",
                where="MixedData.data",
                got=describe(image),
                fix="give the data set a transform that ends in a tensor, such as torchvision.transforms.PILToTensor",
            )
        label = torch.as_tensor(int(self.targets[index]))
        return image.float(), functional.one_hot(label, len(self.classes)).float()
