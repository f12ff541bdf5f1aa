"""Names with a meaning to the plugin system: the entry-point group, known plugins, and what nobody may take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

GROUP = "kdhub.plugins"
"""Entry-point group; entry name = plugin name = config scope."""

BUILTIN = "kdhub"
"""The core's own plugin, scope and distribution."""

PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_]*")

KNOWN_DISTRIBUTIONS = {
    "kdcls": "kdhub-classification",
    "kddet": "kdhub-detection",
    "kdseg": "kdhub-segmentation",
    "kdret": "kdhub-retrieval",
    "kdtrg": "kdhub-tokengraph",
    "kdgen": "kdhub-generation",
    "kdlm": "kdhub-language",
    "kdood": "kdhub-ood",
}
"""Scope to the distribution of kdhub's own source tree that provides it."""

RESERVED_SCOPES = frozenset(
    {BUILTIN, "mmcv", "mmdet", "mmengine", "mmpose", "mmpretrain", "mmrazor", "mmseg", "torch", "torchvision"}
)
"""Scopes of other people's packages: a plugin of that name would answer for them in every config."""

BUILTIN_COMMANDS = frozenset(
    ("list", "info", "plugins", "check", "probe", "cache", "train", "test", "report", "tune", "new", "doctor")
)
"""Sub-commands of the core, which a plugin cannot replace."""

HEAVY = frozenset(
    [
        "torch",
        "torchvision",
        "mmcv",
        "mmdet",
        "mmseg",
        "mmpretrain",
        "cv2",
        "faiss",
        "transformers",
        "sentence_transformers",
        "timm",
        "datasets",
        "scipy",
        "sklearn",
        "pandas",
        "matplotlib",
        "tensorflow",
        "jax",
        "mmengine.model",
        "mmengine.runner",
        "mmengine.logging",
    ]
)
"""Modules that listing plugins must not import; the parts of mmengine named here import torch."""

_TREE = Path(__file__).resolve().parents[2]


def install_known(dist: str) -> str:
    """Return how to install a distribution of kdhub's source tree: no package index has them."""
    folder = _TREE / "plugins" / dist
    if (folder / "pyproject.toml").is_file():
        return f"pip install {shlex.quote(str(folder))}"
    return f"pip install ./plugins/{dist} in a checkout of kdhub"


def entry_line(name: str, module: str) -> str:
    """Return the line of ``pyproject.toml`` that declares a plugin, as it should be spelt.

    Args:
        name: Entry name as it is.
        module: Manifest module.
    """
    names = (module.partition(".")[0], re.sub(r"\W", "_", name).lower())
    spelt = next((one for one in names if PLUGIN_NAME.fullmatch(one) and one not in RESERVED_SCOPES), f"kd_{names[1]}")
    return f'write {spelt} = "{module.partition(":")[0]}" under [project.entry-points."{GROUP}"]'
