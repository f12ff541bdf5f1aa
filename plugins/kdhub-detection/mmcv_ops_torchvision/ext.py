"""The module ``mmcv._ext`` itself: what mmcv's Python code calls, under the names and with the arguments it uses.

Functions fill the output tensors that they are given, as the compiled ones do. A name that is not here is found all the same,
since ``mmcv.ops`` asks for all of them when it is imported; calling it raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torchvision

from mmcv_ops_torchvision.attention import (
    ms_deform_attn_backward as ms_deform_attn_backward,
    ms_deform_attn_forward as ms_deform_attn_forward,
)
from mmcv_ops_torchvision.boxes import nms as nms, nms_match as nms_match, softnms as softnms
from mmcv_ops_torchvision.deform import (
    deform_conv_backward_input as deform_conv_backward_input,
    deform_conv_backward_parameters as deform_conv_backward_parameters,
    deform_conv_forward as deform_conv_forward,
    modulated_deform_conv_backward as modulated_deform_conv_backward,
    modulated_deform_conv_forward as modulated_deform_conv_forward,
)
from mmcv_ops_torchvision.focal import (
    sigmoid_focal_loss_backward as sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward as sigmoid_focal_loss_forward,
    softmax_focal_loss_backward as softmax_focal_loss_backward,
    softmax_focal_loss_forward as softmax_focal_loss_forward,
)
from mmcv_ops_torchvision.missing import missing
from mmcv_ops_torchvision.roi import (
    roi_align_backward as roi_align_backward,
    roi_align_forward as roi_align_forward,
    roi_pool_backward as roi_pool_backward,
    roi_pool_forward as roi_pool_forward,
)

STANDS_IN = True
"""What the compiled module does not have."""


def get_compiler_version() -> str:
    """Say, where mmcv lists its environment, that nothing was compiled."""
    return f"none: the operators are those of torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    """Say which CUDA torchvision's kernels were built for."""
    return torch.version.cuda or "none"


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def lacking(*args: Any, **keywords: Any) -> NoReturn:
        missing(name)

    return lacking
