"""Which of mmengine's root registries holds which kind of component."""

from __future__ import annotations

import mmengine.registry
from mmengine.registry import Registry

ROOT_OF_KIND = {
    "loss": "MODELS",
    "adapter": "MODELS",
    "tap": "MODELS",
    "teacher": "MODELS",
    "distiller": "MODELS",
    "model": "MODELS",
    "metric": "METRICS",
    "runner_hook": "HOOKS",
    "dataset": "DATASETS",
    "collate": "FUNCTIONS",
    "optim_wrapper": "OPTIM_WRAPPERS",
    "schedule": "TASK_UTILS",
    "index": "TASK_UTILS",
    "transform": "TRANSFORMS",
    "sampler": "DATA_SAMPLERS",
    "constructor": "OPTIM_WRAPPER_CONSTRUCTORS",
    "job": "FUNCTIONS",
}
"""Kind to the name of a root in ``mmengine.registry``."""


def root_registry(kind: str) -> Registry:
    """Return the root registry in which mmengine looks for components of ``kind``."""
    return getattr(mmengine.registry, ROOT_OF_KIND[kind])


def kinds_by_root() -> dict[Registry, tuple[str, ...]]:
    """Return every root that holds components, with the kinds it holds."""
    kinds: dict[Registry, tuple[str, ...]] = {}
    for kind in ROOT_OF_KIND:
        root = root_registry(kind)
        kinds[root] = (*kinds.get(root, ()), kind)
    return kinds
