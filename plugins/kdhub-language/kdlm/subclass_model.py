"""`SubclassModel`: a classifier whose net tells pseudo-classes, and which answers with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn.functional import cross_entropy

from kdhub.api import TorchModel, integer, require
from kdlm.losses.lelp import marginal_logits


class SubclassModel(TorchModel):
    """A `kdhub.TorchModel` whose net has S outputs for each class, for `kdlm.LELP`.

    A class is predicted by the sum of its pseudo-classes' probabilities, which may be another class than that of the largest output. The exported net
    is the library's own, with C·S outputs: ``logits.unflatten(1, (-1, S)).logsumexp(2)`` are those of the classes.

    Args:
        net: As for `kdhub.TorchModel`; with ``num_labels`` C·S.
        subclasses: S, as in the projections.
        inputs: As for `kdhub.TorchModel`.
        labels: As for `kdhub.TorchModel`.
        output: As for `kdhub.TorchModel`.
        data_preprocessor: As for `kdhub.TorchModel`.
        init_cfg: Refused, as for `kdhub.TorchModel`.
        fields: As for `kdhub.TorchModel`.
    """

    def __init__(
        self,
        net: Any,
        subclasses: int,
        inputs: Any = None,
        labels: Any = None,
        output: int | str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
        fields: Sequence[str] = (),
    ) -> None:
        require("SubclassModel", integer(1), subclasses=subclasses)
        super().__init__(net, None, inputs, labels, output, data_preprocessor, init_cfg, fields)
        self.subclasses = subclasses

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor", **fields: Any) -> Any:
        """Run the net on a preprocessed batch; see `kdhub.TorchModel.forward` for the arguments.

        Returns:
            In mode ``loss`` the cross-entropy of the classes as ``loss_task``, if there are labels; in mode ``predict`` samples whose
            ``pred_score`` are logits of the classes (C,); in mode ``tensor`` the net's output (B, C·S).
        """
        if mode == "loss":
            logits = super().forward(inputs, mode="tensor")
            return (
                {} if labels is None else {"loss_task": cross_entropy(marginal_logits(logits, self.subclasses), labels)}
            )
        result = super().forward(inputs, labels, mode)
        if mode == "predict":
            for sample in result:
                sample["pred_score"] = marginal_logits(sample["pred_score"], self.subclasses)
        return result
