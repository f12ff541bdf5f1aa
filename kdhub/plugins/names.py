"""Names with a meaning to the plugin system: the entry-point group, known plugins, and what nobody may take."""

from __future__ import annotations

import re

GROUP = "kdhub.plugins"
"""Entry-point group; entry name = plugin name = config scope."""

BUILTIN = "kdhub"
"""The core's own plugin, scope and distribution."""

PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_]*")

KNOWN_DISTRIBUTIONS = {
    "kdseg": "kdhub-segmentation",
    "kddet": "kdhub-detection",
    "kdtrg": "kdhub-tokengraph",
    "kdood": "kdhub-ood",
    "kdret": "kdhub-retrieval",
}
"""Scope to the distribution that provides it, so that a config which needs one gets the line to type."""

RESERVED_SCOPES = frozenset(
    {BUILTIN, "mmcv", "mmdet", "mmengine", "mmpose", "mmpretrain", "mmrazor", "mmseg", "torch", "torchvision"}
)
"""Scopes of other people's packages: a plugin of that name would answer for them in every config."""

BUILTIN_COMMANDS = frozenset(
    ("list", "info", "plugins", "check", "probe", "cache", "train", "test", "report", "doctor")
)
"""Sub-commands of the core, which a plugin cannot replace."""
