"""Cross-entropy of the next token: a language model's own loss, with a choice of the mean."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from kdhub.api import MaskedLoss, UsageError, masked_mean, to_float32
from kdlm.data.texts import IGNORED
from kdlm.metrics import require_tokens


class NextToken(MaskedLoss):
    """Cross-entropy of each next token, which `labels` name without a shift.

    ``L = mean over i with y_{i+1} ≥ 0 of −log softmax(s_i)[y_{i+1}]``. It hears no teacher, so it stands as the ``criterion`` of a
    `kdhub.TorchModel`. Without a criterion the model's own loss is that of ``reduction='positions'``.

    Args:
        reduction: ``'positions'``: mean over all predicted tokens of the batch, as transformers' models take it. ``'samples'``: first
            within each text, then over texts: accumulated gradients, and those of several processes, are then the whole
            batch's, however ragged the texts are; a short text counts as much as a long one.

    Inputs:
        student: Logits (B, L, V), any float type, raised to float32.
        labels: Tokens (B, L), int64; -100 where nothing is predicted.

    References:
        - The usual loss of causal language models, as ``transformers`` computes it from ``labels``.

    Requirements:
        Labels as `kdlm.collate_tokens` makes them: the text's own tokens, with -100 for padding and for the first token.

    Relations:
        - `kdhub.TemperatureKL` with ``class_axis=-1`` takes the teacher's whole distribution instead of the one token.

    Example:
        ::

            student=dict(type='kdhub.TorchModel', net=..., criterion=dict(type='kdlm.NextToken', reduction='samples'))
    """

    def __init__(self, reduction: str = "positions") -> None:
        super().__init__(reduction)

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """Return the mean; see the class for the inputs.

        Raises:
            UsageError: For labels of another shape, and tokens outside of the vocabulary.
        """
        if student.ndim != 3 or labels.shape != student.shape[:2]:
            raise UsageError(
                "NextToken needs the logits of each position",
                expected="student (B, L, V) and labels (B, L)",
                got=f"student {tuple(student.shape)}, labels {tuple(labels.shape)}",
            )
        require_tokens(labels, student.shape[2], "NextToken")
        after = labels[:, 1:]
        values = cross_entropy(
            to_float32(student)[:, :-1].transpose(1, 2), after, ignore_index=IGNORED, reduction="none"
        )
        return masked_mean(values, after != IGNORED, self.reduction)
