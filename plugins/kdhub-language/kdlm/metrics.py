"""Figures of language models and of text classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch.nn.functional import cross_entropy

from kdhub.api import Accuracy, UsageError, describe
from kdlm.data.texts import IGNORED


class Perplexity(BaseMetric):
    """How surprised a language model is by each next token: ``perplexity`` and its logarithm, ``nll``, over all tokens.

    It reads what `kdhub.TorchModel` predicts of a causal LM and batches of `kdlm.Texts`: ``pred_score`` (L, V), and ``gt_label``
    (L,), the text's own tokens with -100 where nothing is predicted. ``perplexity = exp(nll)``, infinite if that overflows.

    Args:
        collect_device: As for every metric of mmengine.
        prefix: Stands before the names with a slash; none by default.

    Raises:
        UsageError: For predictions that are no logits of each position, and tokens outside of the vocabulary.
    """

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None) -> None:
        # mmengine warns of a metric without prefix
        super().__init__(collect_device=collect_device, prefix=prefix or "none")
        self.prefix = prefix

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Sum the surprise of each text of one batch.

        Args:
            data_batch: Unused.
            data_samples: One mapping a text with ``pred_score`` (L, V) and ``gt_label`` (L,).
        """
        for sample in data_samples:
            logits, labels = sample.get("pred_score"), sample.get("gt_label")
            if labels is None or logits is None or logits.ndim != 2 or labels.shape != logits.shape[:1]:
                raise UsageError(
                    "a prediction is not that of a language model",
                    where="Perplexity",
                    expected="pred_score (L, V) and gt_label (L,)",
                    got=f"pred_score {describe(logits)}, gt_label {describe(labels)}",
                    fix="take an AutoModelForCausalLM, and data of kdlm without label=",
                )
            require_tokens(labels, logits.shape[1], "Perplexity")
            total = cross_entropy(logits[:-1].float(), labels[1:], ignore_index=IGNORED, reduction="sum")
            self.results.append((float(total), int((labels[1:] != IGNORED).sum())))

    def compute_metrics(self, results: list[tuple[float, int]]) -> dict[str, float]:
        """Average over the tokens of all texts and processes.

        Args:
            results: Summed negative log-likelihood and number of tokens of each text.
        """
        tokens = sum(count for _, count in results)
        if not tokens:
            raise UsageError("no token is predicted", where="Perplexity", got=f"{len(results)} texts without labels")
        nll = math.fsum(total for total, _ in results) / tokens
        return {"perplexity": math.exp(nll) if nll < 709 else math.inf, "nll": nll}


def require_tokens(labels: torch.Tensor, vocabulary: int, where: str) -> None:
    """See that labels are tokens of a vocabulary; on the CPU alone, as reading them would stall another device.

    Raises:
        UsageError: If one is not: the tokenizer is not the model's.
    """
    if labels.is_cpu and labels.numel() and int(labels.max()) >= vocabulary:
        raise UsageError(
            "a token that the model does not know",
            where=where,
            expected=f"0 to {vocabulary - 1}",
            got=str(int(labels.max())),
            fix="tokenise with the model's own tokenizer, or build the model with vocab_size=len(tokenizer)",
        )


class ClassificationFigures(Accuracy):
    """Accuracy, and what it hides where classes differ in size: macro F1 and Matthews' correlation, all in percent.

    ``top1`` is `kdhub.Accuracy`'s; ``f1_macro`` the mean over the classes that occur or are predicted; ``mcc`` the figure of CoLA. By
    scikit-learn. A prediction of two equal scores is the lower class in ``f1_macro`` and ``mcc``.

    Args:
        collect_device: As for every metric of mmengine.
        prefix: Stands before the names with a slash; none by default.

    Raises:
        UsageError: For what `kdhub.Accuracy` refuses.
    """

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__((1,), collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep what the accuracy needs, label and prediction of each text; see `kdhub.Accuracy`."""
        start = len(self.results)
        super().process(data_batch, data_samples)
        for place, sample in enumerate(data_samples, start=start):
            predicted = int(torch.as_tensor(sample["pred_score"]).argmax())
            self.results[place] = (self.results[place], int(torch.as_tensor(sample["gt_label"])), predicted)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute the figures over the texts of all processes."""
        from sklearn.metrics import f1_score, matthews_corrcoef

        labels, predicted = [one[1] for one in results], [one[2] for one in results]
        return {
            **super().compute_metrics([one[0] for one in results]),
            "f1_macro": 100.0 * float(f1_score(labels, predicted, average="macro")),
            "mcc": 100.0 * float(matthews_corrcoef(labels, predicted)),
        }
