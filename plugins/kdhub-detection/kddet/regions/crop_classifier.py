"""Stage A of EZAD: an image-text model that learns to name the crops of base boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from kddet.regions.adaptation import crop_classification
from kddet.regions.image_text import load_image_text
from kdhub.api import UsageError, choice, require


class CropClassifier(BaseModel):
    """Adapts an image-text model on `kddet.BoxCrops`; of CLIP the LayerNorms alone train.

    Names are embedded anew in each step, since the text side trains too. What a run leaves in ``student/`` is the model as
    transformers saves it.

    Args:
        model: A folder or a name on the hub of CLIP or SigLIP; ``lite2+minilm`` for the stand-in, of which a projection trains.
        names: The base classes, in the order of the data's labels.
        finetune_loss: ``'bce'`` as in the authors' code, or ``'ce'``.
        data_preprocessor: Of mmengine; by default tensors are moved and nothing else.

    Raises:
        UsageError: If the model cannot be loaded or has nothing to adapt.
    """

    def __init__(
        self, model: str, names: Sequence[str], finetune_loss: str = "bce", data_preprocessor: Any = None
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        require("CropClassifier", choice(("bce", "ce")), finetune_loss=finetune_loss)
        self.model = load_image_text(model)
        self.names = tuple(names)
        self.finetune_loss = finetune_loss
        self.trained = tuple(self.model.adapt())

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        """Name crops ``(n, 3, size, size)``: logits, or the loss with ``labels`` ``(n,)``."""
        if inputs.shape[-1] != self.model.size:
            raise UsageError(
                "the crops are of another size than the model reads",
                where="train_dataloader.dataset.size",
                expected=str(self.model.size),
                got=str(inputs.shape[-1]),
            )
        logits = self.model.logits(inputs, self.model.names(self.names))
        if mode != "loss":
            return logits
        if labels is None:
            raise UsageError("CropClassifier has no labels", expected="labels of kddet.BoxCrops")
        return {"loss_names": crop_classification([logits], [torch.as_tensor(labels)], self.finetune_loss)}
