"""Scores of a text: how surprised a language model is by it, and the rivals. Higher means out of distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdhub.api import UsageError, integer, number, require, to_float32


def text_nll(logits: Tensor, input_ids: Tensor, mask: Tensor, end_of_text: bool = True) -> Tensor:
    """Mean negative log-likelihood of each text; its exponential is the perplexity, which ranks texts alike.

    Position i predicts token i + 1. It counts where ``mask[i] = 1``, so that the end of text after the last token is scored, or, without
    end of text, where ``mask[i + 1] = 1``. The first token is never scored.

    Args:
        logits: (B, L, V), any float type.
        input_ids: (B, L), each text followed by an end-of-text token if there is room.
        mask: (B, L), 1 at the text's own tokens, which stand together.
        end_of_text: Whether the end of text is scored.

    Returns:
        (B,), float32; NaN for a text of which nothing is scored.
    """
    counted = (mask[:, :-1] if end_of_text else mask[:, 1:]) != 0
    scores = to_float32(logits)[:, :-1]
    # torch's cross-entropy would read (B, V, L), across memory
    surprise = scores.logsumexp(2) - scores.gather(2, input_ids[:, 1:].unsqueeze(2)).squeeze(2)
    return torch.where(counted, surprise, 0.0).sum(1) / counted.sum(1)


def perplexity(nll: float | Tensor | np.ndarray) -> Any:
    """The exponential of a mean negative log-likelihood; infinite if it overflows."""
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(nll, np.float64))


def max_softmax(logits: Tensor) -> Tensor:
    """One minus the probability of the likeliest class (MSP): logits (B, C) to (B,). Hendrycks and Gimpel, arXiv 1610.02136."""
    return 1 - to_float32(logits).softmax(1).amax(1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Energy ``−T log Σ_c exp(z_c / T)``: logits (B, C) to (B,). Liu et al., arXiv 2010.03759.

    Args:
        logits: (B, C).
        temperature: T; 1.0 is the authors'.
    """
    require("energy", number(above=0), temperature=temperature)
    return -temperature * (to_float32(logits) / temperature).logsumexp(1)


class Mahalanobis:
    """Squared distance to the nearest class mean under the classes' shared covariance. Lee et al., arXiv 1807.03888.

    Args:
        features: Embeddings of training texts (N, D).
        labels: Class of each (N,); ``None`` takes all as one class.
        shrinkage: Share of the mean variance that is mixed into the covariance, so that it can be inverted.

    Raises:
        UsageError: For fewer than 2 texts, and another number of labels.
    """

    def __init__(self, features: Tensor, labels: Tensor | None = None, shrinkage: float = 1e-3) -> None:
        require("Mahalanobis", number(at_least=0), shrinkage=shrinkage)
        features = _features(features).double()
        labels = torch.zeros(len(features), dtype=torch.long) if labels is None else torch.as_tensor(labels)
        if len(labels) != len(features):
            raise UsageError("Mahalanobis: one label a text", got=f"{len(labels)} labels, {len(features)} texts")
        classes, place = labels.unique(return_inverse=True)
        self.means = torch.stack([features[place == index].mean(0) for index in range(len(classes))])
        centred = features - self.means[place]
        covariance = centred.T @ centred / len(features)
        scale = covariance.diagonal().mean().clamp(min=1e-12)
        mixed = (1 - shrinkage) * covariance + shrinkage * scale * torch.eye(len(covariance), dtype=torch.double)
        self.precision = torch.linalg.pinv(mixed, hermitian=True)

    def __call__(self, features: Tensor) -> Tensor:
        """Score embeddings (B, D): (B,)."""
        difference = torch.as_tensor(features).double().unsqueeze(1) - self.means
        return torch.einsum("bcd,de,bce->bc", difference, self.precision, difference).amin(1).float()


class KNearest:
    """Distance to the k-th nearest training text, all embeddings of length 1. Sun et al., arXiv 2204.06507.

    Args:
        features: Embeddings of training texts (N, D).
        k: Which neighbour; 1, the default, suits small data. The authors take 50 for tens of thousands.

    Raises:
        UsageError: For more neighbours than texts.
    """

    def __init__(self, features: Tensor, k: int = 1) -> None:
        from sklearn.neighbors import NearestNeighbors

        require("KNearest", integer(1), k=k)
        features = _features(features)
        if k > len(features):
            raise UsageError("KNearest: bad k", expected=f"up to {len(features)} training texts", got=str(k))
        self._found = NearestNeighbors(n_neighbors=k).fit(_unit(features))

    def __call__(self, features: Tensor) -> Tensor:
        """Score embeddings (B, D): (B,)."""
        distances, _ = self._found.kneighbors(_unit(torch.as_tensor(features)))
        return torch.from_numpy(distances[:, -1]).float()


def mean_pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Average hidden states (B, L, H) over the real tokens: the embedding (B, H) of each text."""
    real = (mask != 0).unsqueeze(2)
    return torch.where(real, to_float32(states), 0.0).sum(1) / real.sum(1).clamp(min=1)


def _features(features: Tensor) -> Tensor:
    features = torch.as_tensor(features)
    if features.ndim != 2 or len(features) < 2:
        raise UsageError("embeddings of training texts", expected="(N, D), N from 2", got=str(tuple(features.shape)))
    return features


def _unit(features: Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.double(), dim=1).numpy()
