"""`Projections`: directions inside each class of a teacher's embeddings, and the job that fits them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kdhub.api import FLAG, UsageError, build, integer, require
from kdlm.data.collate import collate_tokens

FILE = "projections.safetensors"


class Projections(NamedTuple):
    """Directions inside the classes of a teacher.

    Attributes:
        directions: (C, S, D), orthonormal in each class; zero where there is none.
        means: Mean of each class (C, D).
        scale: What the projections of a class are divided by (C,).
        kept: Which pseudo-classes are there, bool (C, S).
    """

    directions: Tensor
    means: Tensor
    scale: Tensor
    kept: Tensor

    def along(self, embeddings: Tensor) -> Tensor:
        """Project embeddings (B, D) on the directions of all classes: (B, C, S)."""
        offset = torch.einsum("csd,cd->cs", self.directions, self.means)
        return (torch.einsum("csd,bd->bcs", self.directions, embeddings) - offset) / self.scale.unsqueeze(1)

    @classmethod
    def read(cls, file: str) -> Projections:
        """Read what the job `fit_projections` wrote.

        Raises:
            UsageError: If the file is not there, or holds something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return cls(**load_file(file))
        except (OSError, SafetensorError, TypeError) as error:
            raise UsageError(
                "no projections",
                where=file,
                got=str(error)[:200],
                fix="run the job kdlm.fit_projections on the teacher",
            ) from error


def fitted(
    embeddings: Tensor,
    labels: Tensor,
    head: Tensor,
    subclasses: int,
    null_space: bool = True,
    rotate: bool = True,
    scale: bool = True,
    seed: int = 0,
) -> Projections:
    """Fit directions inside each class; all in float64.

    What the classifier reads is taken out first: ``h~ = (I − W⁺ W) h``. Of each class the principal S directions are taken, and mixed by a random
    rotation, so that each carries as much variance as the next. A class of fewer texts, or of lower rank, gets fewer pseudo-classes.

    Args:
        embeddings: Inputs (N, D) of the teacher's last linear layer.
        labels: Class of each (N,).
        head: Weights W (C, D) of that layer.
        subclasses: S.
        null_space: Whether to take out what the classifier reads; left out anyway if it reads everything.
        rotate: Whether to mix the directions.
        scale: Whether to divide by the standard deviation of the class's projections.
        seed: Of the rotation.

    Raises:
        UsageError: For a class without texts, and sizes that differ.
    """
    require("fitted", integer(1), subclasses=subclasses)
    if embeddings.ndim != 2 or head.ndim != 2 or embeddings.shape[1] != head.shape[1] or len(labels) != len(embeddings):
        raise UsageError(
            "projections: sizes that do not fit",
            expected="embeddings (N, D), labels (N,), head (C, D)",
            got=f"{tuple(embeddings.shape)}, {tuple(labels.shape)}, {tuple(head.shape)}",
        )
    embeddings, head = embeddings.double(), head.double()
    width = embeddings.shape[1]
    projector = torch.eye(width, dtype=torch.double) - torch.linalg.pinv(head) @ head
    if null_space and torch.linalg.matrix_rank(head) < width:
        embeddings = embeddings @ projector  # symmetric
    directions = torch.zeros(len(head), subclasses, width, dtype=torch.double)
    means, scales = torch.zeros(len(head), width, dtype=torch.double), torch.ones(len(head), dtype=torch.double)
    kept = torch.zeros(len(head), subclasses, dtype=torch.bool)
    random = torch.Generator().manual_seed(seed)
    for place in range(len(head)):
        inside = embeddings[labels == place]
        if not len(inside):
            raise UsageError(
                f"no text of class {place} to fit projections on", expected=f"texts of all {len(head)} classes"
            )
        means[place] = inside.mean(0)
        centred = inside - means[place]
        found = _principal(centred, subclasses)
        turn = _rotation(len(found), random) if rotate else torch.eye(len(found), dtype=torch.double)
        directions[place, : len(found)] = turn @ found
        kept[place, : max(len(found), 1)] = True  # a class without spread is one pseudo-class
        if scale and len(found):
            scales[place] = (centred @ found.T).square().mean().sqrt().clamp(min=1e-12)
    return Projections(directions.float(), means.float(), scales.float(), kept)


def fit_projections(
    folder: Path,
    model: Any,
    dataset: Any,
    classifier: str = "classifier",
    subclasses: int = 4,
    null_space: bool = True,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Fit the projections of LELP in one pass of the teacher over its training texts; a job.

    Args:
        folder: Folder of the job; ``projections.safetensors`` goes there.
        model: Config of the teacher, a `kdhub.TorchModel` with its weights.
        dataset: Config of labelled texts, such as a `kdlm.TextTable`. The labels define the classes.
        classifier: Path of the teacher's last linear layer; what it is given, (B, D), are the embeddings.
        subclasses: S; 4, the default, is one of the method's grid of 2, 4, 8 and 16.
        null_space: Whether to take out what the classifier reads already.
        seed: Of the random rotation.
        batch_size: Texts that run at once.

    Returns:
        ``texts``, ``classes`` and ``pseudo_classes``.

    Raises:
        UsageError: If there is no such layer, or it is given one vector a token.
    """
    require("fit_projections", integer(1), subclasses=subclasses, batch_size=batch_size)
    require("fit_projections", FLAG, null_space=null_space)
    from safetensors.torch import save_file

    teacher = build("model", model, where="job.model").eval()
    data = build("dataset", dataset, where="job.dataset")
    head = dict(teacher.net.named_modules()).get(classifier)
    if not isinstance(head, nn.Linear):
        linear = [name for name, module in teacher.net.named_modules() if isinstance(module, nn.Linear)]
        raise UsageError(
            f"{classifier!r} is no linear layer",
            where="job.classifier",
            expected="the layer that makes the logits",
            got=type(head).__name__ if head is not None else f"no such module; the last linear one is {linear[-1:]}",
        )
    loader = DataLoader(data, batch_size=batch_size, collate_fn=collate_tokens)
    parts = list(_embedded(teacher, head, loader))
    embeddings, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    projections = fitted(embeddings, labels, head.weight.detach(), subclasses, null_space, seed=seed)
    save_file({name: value.contiguous() for name, value in projections._asdict().items()}, str(Path(folder, FILE)))
    made = int(projections.kept.sum())
    if made < projections.kept.numel():
        print_log(
            f"projections: {made} pseudo-classes of {projections.kept.numel()}, as classes have few texts", "current"
        )
    return {"texts": len(labels), "classes": len(projections.kept), "pseudo_classes": made}


@torch.inference_mode()
def _embedded(teacher: Any, head: nn.Module, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        for batch in loader:
            form = teacher.data_preprocessor(batch, False)
            teacher(form["inputs"], mode="tensor")
            embedding = seen.pop()
            if embedding.ndim != 2:
                raise UsageError(
                    "the classifier is given one vector a token",
                    where="job.classifier",
                    expected="(B, D)",
                    got=str(tuple(embedding.shape)),
                    fix="take a teacher that pools before its classifier, as those of BERT's family do",
                )
            yield embedding.float().cpu(), form["labels"].cpu()
    finally:
        handle.remove()


def _principal(centred: Tensor, count: int) -> Tensor:
    """Return the principal directions (S', D) of centred rows, at most as many as they span, with fixed signs."""
    _, spread, rows = torch.linalg.svd(centred, full_matrices=False)
    found = rows[: min(count, int((spread > 1e-9 * spread.clamp(min=1e-12).max()).sum()) if spread.max() > 1e-9 else 0)]
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign() if len(found) else found[:, :1]
    return found * signs


def _rotation(size: int, random: torch.Generator) -> Tensor:
    orthonormal, upper = torch.linalg.qr(torch.randn(size, size, generator=random, dtype=torch.double))
    return orthonormal * upper.diagonal().sign()
