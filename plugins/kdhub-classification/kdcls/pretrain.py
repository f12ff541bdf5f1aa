"""Nets of mmpretrain by the name of their config, where that library is installed."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdhub.api import FLAG, UsageError, near_matches, require


def mmpretrain_net(model: str, pretrained: bool | str = False, **changes: Any) -> nn.Module:
    """Make a classifier of mmpretrain that takes images and gives logits, for `kdhub.TorchModel`.

    Nobody ran it with mmpretrain itself here, which the tests replace by a module of their own.

    Args:
        model: Name in mmpretrain's model zoo, such as ``resnet18_8xb32_in1k``, or path of a config file.
        pretrained: Whether to load the zoo's weights, which are downloaded; or a file of weights.
        **changes: Merged into the config's model, such as ``head=dict(num_classes=24)``.

    Returns:
        Its ``ImageClassifier``. The images come normalised, as from ``timm.data.create_transform``: in mode ``tensor`` its own
        preprocessor has no part.

    Raises:
        UsageError: If mmpretrain is not installed, or has no such model.

    Example:
        ::

            net=dict(type='kdcls.MMPretrainNet', model='resnet18_8xb32_in1k', head=dict(num_classes=24))
    """
    if not isinstance(pretrained, str):
        require("MMPretrainNet", FLAG, pretrained=pretrained)
    try:
        from mmpretrain import get_model, list_models
    except ImportError as error:
        raise UsageError(
            "mmpretrain cannot be imported",
            where="MMPretrainNet",
            got=str(error),
            fix="pip install onedl-mmpretrain, or take a net of timm or torchvision",
        ) from error
    known = () if model.endswith(".py") else list_models()
    if known and model not in known:
        raise UsageError(
            f"mmpretrain has no model {model!r}",
            where="MMPretrainNet.model",
            near=near_matches(model, known),
            fix="mmpretrain.list_models() names them",
        )
    net: nn.Module = get_model(model, pretrained=pretrained, **changes)
    if pretrained:
        # TorchModel initialises nets of mmengine's kind, and these weights would be lost
        net.is_init = True  # type: ignore[assignment]
    return net
