"""A classifier that also answers questions while it trains, and the file of those questions (MaKD)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, integer, require


class AspectHead(nn.Module):
    """A model's last linear layer, widened by one output for each question.

    In the model's own place it returns the C class logits, so that its loss and its predictions are as before. The tap
    ``wide`` reads all C+Q, for `MultiAspectLoss`. Taken off again by `without_aspects`, it leaves a plain layer with the
    same class logits, bit for bit.

    Args:
        classifier: The layer to widen; its weights stay as they are.
        questions: Number of questions Q.

    Raises:
        UsageError: For anything but a linear layer.
    """

    def __init__(self, classifier: nn.Linear, questions: int) -> None:
        super().__init__()
        require("AspectHead", integer(0), questions=questions)
        if not isinstance(classifier, nn.Linear):
            raise UsageError("AspectHead widens a linear layer", got=type(classifier).__name__)
        self.classes = classifier.out_features
        self.wide = nn.Linear(
            classifier.in_features,
            self.classes + questions,
            bias=classifier.bias is not None,
            device=classifier.weight.device,
            dtype=classifier.weight.dtype,
        )
        with torch.no_grad():
            self.wide.weight[: self.classes].copy_(classifier.weight)
            if classifier.bias is not None:
                self.wide.bias[: self.classes].copy_(classifier.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the class logits ``(..., C)`` of features ``(..., D)``."""
        logits: Tensor = self.wide(features)
        return logits[..., : self.classes]

    def classifier(self) -> nn.Linear:
        """Return the layer without the questions."""
        weight, bias = self.wide.weight, self.wide.bias
        plain = nn.Linear(
            self.wide.in_features, self.classes, bias=bias is not None, device=weight.device, dtype=weight.dtype
        )
        with torch.no_grad():
            plain.weight.copy_(weight[: self.classes])
            if bias is not None:
                plain.bias.copy_(bias[: self.classes])
        return plain.train(self.training)


def with_aspects(model: nn.Module, path: str, questions: int) -> nn.Module:
    """Widen a model's classifier in place.

    Args:
        model: Any model.
        path: Of its last linear layer, such as ``fc`` or ``head.fc``.
        questions: Number of questions Q.

    Returns:
        The same model.

    Raises:
        UsageError: If there is no such module, or it is no linear layer.
    """
    parent, _, name = path.rpartition(".")
    try:
        holder = model.get_submodule(parent)
        layer = holder.get_submodule(name)
    except AttributeError:
        linear = [known for known, module in model.named_modules() if isinstance(module, nn.Linear)]
        raise UsageError("no module to widen", expected=f"one of {', '.join(linear)}", got=path) from None
    setattr(holder, name, AspectHead(layer, questions))  # type: ignore[arg-type]
    return model


def without_aspects(model: nn.Module) -> nn.Module:
    """Put a plain layer in the place of each `AspectHead` of a model, in place; return the model."""
    for name, module in list(model.named_modules()):
        if isinstance(module, AspectHead):
            parent, _, own = name.rpartition(".")
            if not name:
                return module.classifier()
            setattr(model.get_submodule(parent), own, module.classifier())
    return model


class QuestionBank:
    """Yes/no questions in a fixed order: the number of a line is the number of an output.

    Args:
        questions: The questions.
        where: File they are from, for errors.

    Raises:
        UsageError: For no question, an empty one, one twice, or one that is no question.
    """

    def __init__(self, questions: list[str], where: str = "questions") -> None:
        self.questions = tuple(" ".join(question.split()) for question in questions)
        if not self.questions:
            raise UsageError("no questions", where=where, fix="write one question a line")
        seen: dict[str, int] = {}
        for number, question in enumerate(self.questions, start=1):
            if not question.endswith("?"):
                raise UsageError(
                    "not a question",
                    where=f"{where}, question {number}",
                    expected="a text that ends with '?'",
                    got=repr(question),
                )
            if question.lower() in seen:
                raise UsageError(
                    "a question twice",
                    where=f"{where}, question {number}",
                    got=question,
                    fix=f"it is question {seen[question.lower()]} too",
                )
            seen[question.lower()] = number

    @classmethod
    def read(cls, path: str | Path) -> QuestionBank:
        """Read a file with one question a line; lines of white space and those that begin with ``#`` do not count.

        Raises:
            UsageError: If it cannot be read, or holds anything but questions.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("cannot read the questions", where=str(path), got=str(error)) from error
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return cls(lines, str(path))

    @property
    def version(self) -> str:
        """Identify questions and order: a store or a checkpoint of another version answers other questions."""
        return hashlib.sha256("\n".join(self.questions).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.questions)
