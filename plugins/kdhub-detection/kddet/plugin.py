"""The manifest: what kdhub-detection offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kdhub.api import API_LEVEL, Diagnostic, PluginInfo, hookimpl


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Object detection on mmdet, without compiled operators",
        api_level=API_LEVEL,
        tasks=("object-detection",),
    )


@hookimpl
def kdhub_doctor() -> Iterable[Diagnostic]:
    """Look at mmdet and at what stands under mmcv's operators."""
    from kddet.doctor import diagnostics

    return diagnostics()


@hookimpl
def kdhub_run_summary() -> Mapping[str, Any]:
    """Write down which operators a run used: two runs with different ones differ by rounding."""
    import mmcv_ops_torchvision

    used = mmcv_ops_torchvision.in_use()
    return {"mmcv operators": used} if used else {}
