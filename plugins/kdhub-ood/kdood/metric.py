"""`OODFigures`: the figures of OOD detection as a metric of a run, for texts and for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor
from torch.nn.functional import cross_entropy

from kdhub.api import UsageError, choice, describe, integer, number, require
from kdood.figures import bootstrap_intervals, ood_figures
from kdood.scores import energy, max_softmax


class OODFigures(BaseMetric):
    """``auroc``, ``aupr_out``, ``aupr_in``, ``far95`` and their kin of what a model predicts, in percent; see `kdood.figures.ood_figures`.

    Whether a sample is out of distribution is read from the batch's ``ood``, or from the sample's; the data sets of kdood give it.

    Args:
        score: ``'nll'``: mean negative log-likelihood of a language model, from ``pred_score`` (L, V) and ``gt_label`` (L,) of
            `kdlm.Texts`; ``'msp'`` and ``'energy'``: of a classifier's logits (C,), of texts or of images; ``'given'``: ``pred_score`` is the
            score.
        temperature: Of ``'energy'``.
        bootstrap: Draws for 95 % intervals, which the log shows; 0 for none.
        collect_device: As for every metric of mmengine.
        prefix: Stands before the names with a slash; none by default.

    Raises:
        UsageError: For samples that do not say where they belong, predictions of another kind, and data of one class only.
    """

    def __init__(
        self,
        score: str = "nll",
        temperature: float = 1.0,
        bootstrap: int = 0,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        # mmengine warns of a metric without prefix
        super().__init__(collect_device=collect_device, prefix=prefix or "none")
        self.prefix = prefix
        require("OODFigures", choice(("nll", "msp", "energy", "given")), score=score)
        require("OODFigures", number(above=0), temperature=temperature)
        require("OODFigures", integer(0), bootstrap=bootstrap)
        self.score = score
        self.temperature = temperature
        self.bootstrap = bootstrap

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Score the samples of one batch.

        Args:
            data_batch: The batch; its ``ood`` (B,) says where each sample belongs.
            data_samples: One mapping a sample; see the class.
        """
        flags = data_batch.get("ood") if isinstance(data_batch, Mapping) else None
        for place, sample in enumerate(data_samples):
            flag = flags[place] if flags is not None else sample.get("ood")
            if flag is None:
                raise UsageError(
                    "a sample does not say whether it is out of distribution",
                    where="OODFigures",
                    expected="'ood' in the batch",
                    got=", ".join(map(str, data_batch)) if isinstance(data_batch, Mapping) else describe(data_batch),
                    fix="take a data set of kdood, or one whose samples are dicts with 'ood'",
                )
            self.results.append((self._of(sample), bool(flag)))

    def compute_metrics(self, results: list[tuple[float, bool]]) -> dict[str, float]:
        """Compute the figures over the samples of all processes."""
        scores, flags = zip(*results, strict=True)
        found = ood_figures(scores, flags)
        if self.bootstrap:
            intervals = bootstrap_intervals(scores, flags, self.bootstrap)
            said = ", ".join(f"{name} {found[name]:.2f} [{a:.2f}, {b:.2f}]" for name, (a, b) in intervals.items())
            print_log(f"95 % intervals, {self.bootstrap} draws: {said}", "current")
        return found

    def _of(self, sample: Mapping[str, Any]) -> float:
        predicted = torch.as_tensor(sample["pred_score"])
        if self.score == "given":
            return float(predicted)
        if self.score == "nll":
            return float(_nll(predicted, sample.get("gt_label")))
        if predicted.ndim != 1:
            raise UsageError(
                "no logits of a classifier", where="OODFigures.score", expected="(C,)", got=describe(predicted)
            )
        logits = predicted.unsqueeze(0)
        return float(max_softmax(logits) if self.score == "msp" else energy(logits, self.temperature))


def _nll(logits: Tensor, labels: Any) -> Tensor:
    if labels is None or logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise UsageError(
            "no logits of a language model",
            where="OODFigures.score",
            expected="pred_score (L, V) and gt_label (L,)",
            got=f"pred_score {describe(logits)}, gt_label {describe(labels)}",
            fix="set score='msp' or 'energy' for a classifier",
        )
    return cross_entropy(logits[:-1].float(), labels[1:], ignore_index=-100)
