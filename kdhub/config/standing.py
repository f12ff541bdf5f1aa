"""The student or a teacher as it stands in a config: its model, with the ``data_preprocessor`` in force, and what its names need.

Every command goes through here, so that training, testing, probing, caching and exporting mean the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREPROCESSOR = "data_preprocessor"
_FOR_ITS_NAMES = ("custom_imports", "default_scope")
"""Parts of a config by which the names in its model are found."""


def with_preprocessor(model: Any, preprocessor: Any) -> Any:
    """Give a model the preprocessor that stands around it, as mmengine's Runner does: the model's own wins.

    Args:
        model: Config of a model; one that is built already is returned as it is.
        preprocessor: The ``data_preprocessor`` beside it, or ``None``.

    Returns:
        A new dict, or ``model`` itself.
    """
    if not isinstance(model, Mapping) or preprocessor is None:
        return model
    return {_PREPROCESSOR: preprocessor, **model}


def model_as_trained(cfg: Mapping[str, Any]) -> Any:
    """Return the whole ``model`` of a config as a run builds it, with the preprocessor at the top of the config."""
    return with_preprocessor(cfg.get("model"), cfg.get(_PREPROCESSOR))


def student_as_it_stands(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the student alone, which trains, tests and teaches as it does within ``cfg``.

    The preprocessor in force is the student's own; if it has none, that of the `Distiller`; then the one at the top of the
    config.

    Args:
        cfg: The config of a run, with or without a `Distiller`, or of a student that a run exported.

    Returns:
        ``model``, and ``custom_imports`` and ``default_scope`` where ``cfg`` has them. ``model`` is ``None`` if there is
        none, and what stands in ``cfg`` if that is no config.
    """
    model = model_as_trained(cfg)
    if isinstance(model, Mapping) and "student" in model:
        model = with_preprocessor(model["student"], model.get(_PREPROCESSOR))
    names = {key: cfg[key] for key in _FOR_ITS_NAMES if cfg.get(key)}
    return {**names, "model": model}


def scoped(cfg: Mapping[str, Any]) -> Any:
    """Return the student's model with the scope of its own config, to be built within another run.

    Args:
        cfg: The config of a run. Its names must not be looked up in the library of the run that builds the model.
    """
    alone = student_as_it_stands(cfg)
    model = alone["model"]
    if isinstance(model, Mapping) and "default_scope" in alone:
        return {"_scope_": alone["default_scope"], **model}
    return model
