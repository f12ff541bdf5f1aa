"""The manifest: what kdhub-generation offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable

from kdhub.api import API_LEVEL, Component, PluginInfo, hookimpl


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="One-step generators out of diffusion models: noise schedules that all methods share",
        api_level=API_LEVEL,
        tasks=("generation",),
        extras={"diffusers": ("diffusers",), "lora": ("peft",)},
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer what models of this plugin are made of."""
    for name, summary in (
        ("CosineSchedule", "cos and sin of continuous time, variance-preserving"),
        ("DDPMSchedule", "The discrete schedules of diffusers: linear, scaled_linear, squaredcos_cap_v2"),
        ("EDMSchedule", "Variance-exploding, on the grid of Karras et al."),
        ("FlowSchedule", "Straight lines from data to noise"),
        ("TrigFlowSchedule", "The clock of continuous-time consistency models"),
    ):
        yield Component(kind="model", target=f"kdgen.noise:{name}", summary=summary)
