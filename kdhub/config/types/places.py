"""What a config may hold where: the kinds of component, the keys, and what the builder adds or takes away itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kdhub.config.default_hooks import MMENGINE_HOOKS, OWN_HOOKS


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a config.

    Attributes:
        kinds: Kinds of kdhub's components that may stand here; empty if it is not known.
        roots: mmengine's registries that answer for every other ``type``; empty if it is not known.
        implicit: ``module:attribute`` that is meant where a dict has no ``type``.
        provided: Parameters that the builder passes, so that the config need not.
        extra: Keys that the builder takes out before it builds.
        demands: Keys that the builder reads from a dict without ``type``, whatever the signature says.
        keys: All the keys there are, where the dict is no component.
        typed: Whether a dict that stands here must say its ``type``.
        scalar: Whether a plain value may stand here instead of a component.
        guess: Whether ``roots`` is only likely: then findings are warnings, and a name that is not there says nothing.
        named: Whether it is the key beside it that would say what a dict without ``type`` is, and this is an unknown one.
        called: Whether this is a function that gets its first argument later, so that none is missing here.
        many: Whether a list of such dicts may stand here instead of one.
        plain: Types of the plain value that stands here, as an annotation; empty if it is not known.
        single: Keys of which one such dict has at least one: a dict of dicts or lists without any of them holds several, by names
            that the user chooses. Empty if there is always one.
        several: Key that such a dict must have too; empty for none.
    """

    kinds: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    implicit: str = ""
    provided: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    demands: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    typed: bool = False
    scalar: bool = False
    guess: bool = False
    named: bool = False
    called: bool = False
    many: bool = False
    plain: str = ""
    single: tuple[str, ...] = ()
    several: str = ""

    def holds_several(self, value: Mapping[str, Any]) -> bool:
        """Tell whether a dict that stands here holds several such dicts by name, as those of several optimizers do."""
        if not self.single or not value or any(key in value for key in self.single):
            return False
        named = [child for key, child in value.items() if key not in self.extra]
        return (
            bool(named)
            and (self.several in value or not self.several)
            and all(isinstance(one, Mapping | list) for one in named)
        )

    def item(self) -> Place:
        """Return the place of one entry of a list: there a dict says its type, or it is not known what it is."""
        return replace(self, typed=True, many=False, plain="") if self.known else self

    @property
    def known(self) -> bool:
        """Whether it is known who builds what stands here, and so which parameters are missing."""
        return bool(self.kinds or self.roots or self.implicit) and not self.guess


ANYWHERE = Place()
OBJECTIVE_KEYS = ("loss", "student", "teacher", "adapter", "batch", "weight")

_MODEL = Place(kinds=("model",), roots=("MODELS",), typed=True)
_TEACHER = Place(kinds=("teacher",), roots=("MODELS",), typed=True, provided=("student",))
_TAP = Place(kinds=("tap",), scalar=True)
_ADAPTER = Place(kinds=("adapter",), many=True)
_PART_OF_MODEL = Place(roots=("MODELS",), guess=True)  # backbone, head, neck: built by the model's own code
_SCHEDULE = Place(kinds=("schedule",), typed=True, scalar=True)
_DATASET = Place(kinds=("dataset",), roots=("DATASETS",))
_SAMPLER = Place(
    kinds=("sampler",),
    roots=("DATA_SAMPLERS",),
    provided=("dataset", "seed", "sampler", "batch_size"),
    typed=True,
)
_TRANSFORM = Place(kinds=("transform",), roots=("TRANSFORMS",), many=True)
_METRIC = Place(kinds=("metric",), roots=("METRICS", "EVALUATOR"), implicit="mmengine.evaluator:Evaluator", many=True)
_HOOK = Place(kinds=("runner_hook",), roots=("HOOKS",), extra=("priority",), typed=True)
_OPTIM_WRAPPER = Place(
    ("optim_wrapper",), ("OPTIM_WRAPPERS",), "mmengine.optim:OptimWrapper", extra=("constructor", "paramwise_cfg")
)
_PARAM_SCHEDULER = Place(
    roots=("PARAM_SCHEDULERS",), provided=("optimizer",), extra=("convert_to_iter_based",), many=True
)
_DATALOADER = {
    "": Place(
        implicit="torch.utils.data:DataLoader",
        extra=("num_batch_per_epoch", "disable_subprocess_warning"),
        demands=("sampler",),
    ),
    ".dataset": replace(_DATASET, typed=True),
    ".sampler": _SAMPLER,
    ".batch_sampler": _SAMPLER,
    ".collate_fn": Place(kinds=("collate",), roots=("FUNCTIONS",), typed=True, called=True),
    ".worker_init_fn": Place(roots=("FUNCTIONS",), typed=True, called=True),
}


def _loop(implicit: str, *demands: str) -> Place:
    provided = ("runner", "dataloader", "evaluator")
    return Place(roots=("LOOPS",), implicit=implicit, provided=provided, demands=demands)


TOP_LEVEL = {
    "model": Place(kinds=("model", "distiller"), roots=("MODELS",), typed=True),
    **{f"{split}_dataloader{rest}": place for split in ("train", "val", "test") for rest, place in _DATALOADER.items()},
    "train_cfg": _loop("mmengine.runner:EpochBasedTrainLoop", "by_epoch"),
    "val_cfg": _loop("mmengine.runner:ValLoop"),
    "test_cfg": _loop("mmengine.runner:TestLoop"),
    "auto_scale_lr": Place(keys=("enable", "base_batch_size")),
    "optim_wrapper": replace(_OPTIM_WRAPPER, single=("type", "optimizer"), several="constructor"),
    "param_scheduler": replace(_PARAM_SCHEDULER, single=("type",)),
    "val_evaluator": _METRIC,
    "test_evaluator": _METRIC,
    "default_hooks": Place(plain="dict | None"),
    **{
        f"default_hooks.{name}": replace(_HOOK, implicit=f"kdhub.engine.hooks.{name}:{hook}", typed=False)
        for name, hook in OWN_HOOKS.items()
    },
    **{
        f"default_hooks.{name}": replace(_HOOK, implicit=f"mmengine.hooks:{hook}", typed=False)
        for name, hook in MMENGINE_HOOKS.items()
    },
    "default_hooks.*": replace(_HOOK, named=True),
    "custom_hooks": replace(_HOOK, many=True),
    "data_preprocessor": Place(roots=("MODELS",), typed=True),
    "load_from": Place(plain="str | None"),
    "resume": Place(plain="bool | None"),
    "launcher": Place(plain="str | None"),
    "env_cfg": Place(keys=("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")),
    "log_processor": Place(roots=("LOG_PROCESSORS",), implicit="mmengine.runner:LogProcessor"),
    "log_processor.window_size": Place(plain="int"),
    "log_level": Place(plain="str | int | None"),
    "visualizer": Place(roots=("VISUALIZERS",), implicit="mmengine.visualization:Visualizer"),
    "visualizer.vis_backends": Place(roots=("VISBACKENDS",), provided=("save_dir",), many=True, plain="list | None"),
    "default_scope": Place(plain="str | None"),
    "randomness": Place(keys=("seed", "diff_rank_seed", "deterministic")),
    "experiment_name": Place(plain="str | None"),
    "work_dir": Place(plain="str | None"),
    # read by mmengine's runner and tools from the config itself
    "runner_type": Place(plain="str | None"),
    "model_wrapper_cfg": Place(roots=("MODEL_WRAPPERS",), provided=("module",)),
    "sync_bn": Place(plain="str | None"),
    "find_unused_parameters": Place(plain="bool | None"),
    "activation_checkpointing": ANYWHERE,
    "efficient_conv_bn_eval": ANYWHERE,
    "compile": ANYWHERE,
    "custom_imports": Place(keys=("imports", "allow_failed_imports")),
    "tta_model": Place(roots=("MODELS",), provided=("module",)),
    "tta_pipeline": _TRANSFORM,
    # read by kdhub
    "predecessors": Place(plain="dict | None"),
    "after": ANYWHERE,
    "job": Place(kinds=("job",), roots=("FUNCTIONS",), typed=True, provided=("folder",)),
}

TOP_LEVEL_KEYS = tuple(key for key in TOP_LEVEL if "." not in key)
"""Keys of a config that somebody reads; any other is a helper variable, or a mistake."""

DISTILLER = {
    "student": _MODEL,
    "teacher": _TEACHER,
    "teachers": ANYWHERE,
    "teachers.*": _TEACHER,
    "task_weight": _SCHEDULE,
    "guards": Place(implicit="kdhub.distill.guards:Guards"),
    "objectives": ANYWHERE,
    "objectives.*": Place(keys=OBJECTIVE_KEYS),
    "objectives.*.loss": Place(kinds=("loss",), typed=True),
    "objectives.*.student": _TAP,
    "objectives.*.student.*": replace(_TAP, typed=True),
    "objectives.*.teacher": _TAP,
    "objectives.*.teacher.*": replace(_TAP, typed=True),
    "objectives.*.adapter": _ADAPTER,
    "objectives.*.adapter.*": replace(_ADAPTER, typed=True),
    "objectives.*.weight": _SCHEDULE,
}

_TABLES: Mapping[str, Mapping[str, Place]] = {
    "config": TOP_LEVEL,
    "distiller": DISTILLER,
    "teacher": {"model": replace(_MODEL, scalar=True), "teacher": _TEACHER},
    "optim_wrapper": {"optimizer": Place(roots=("OPTIMIZERS",), provided=("params",), typed=True)},
    "dataset": {
        "dataset": replace(_DATASET, scalar=True),
        "datasets": replace(_DATASET, scalar=True, many=True),
        "pipeline": _TRANSFORM,
        "transforms": _TRANSFORM,
    },
    "metric": {"metrics": replace(_METRIC, scalar=True, many=True)},
    # several by name: those of a model with several optimizers
    "several:optim_wrapper": {"constructor": Place(plain="str"), "paramwise_cfg": ANYWHERE, "*": _OPTIM_WRAPPER},
    "several:param_scheduler": {"*": _PARAM_SCHEDULER},
    # by their type, as the keys are theirs alone
    "kdhub.TorchModel": {
        "net": _MODEL,
        "criterion": Place(kinds=("loss",), roots=("MODELS",), typed=True),
        "data_preprocessor": Place(roots=("MODELS",), typed=True),
    },
    "kdhub.TorchDataset": {"data": replace(_DATASET, typed=True)},
}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a walk through a config stands.

    Attributes:
        place: What may stand here.
        owner: Kind of the component that this belongs to, or its type if that has a table; ``config`` for the config itself.
        keys: Keys from that component to here, list indices left out.
    """

    place: Place
    owner: str
    keys: tuple[str, ...]

    @property
    def names_are_free(self) -> bool:
        """Whether the keys of a dict that stands here are names that the user chooses."""
        return self.child("*").place is not ANYWHERE

    def inside(self, value: Mapping[str, Any], kind: str | None) -> Spot:
        """Return the spot from which the keys of ``value``, which stands here, are counted.

        Args:
            value: A dict of the config.
            kind: Kind of the plugin's component that it builds, if it is one.
        """
        if self.place.holds_several(value):
            return Spot(ANYWHERE, f"several:{self.keys[-1]}", ())
        if "type" not in value and not self.place.implicit:
            return self
        type_ = value.get("type")
        by_type = type_ if isinstance(type_, str) and type_ in _TABLES else None
        owner = by_type or kind or next(iter(self.place.kinds), "")
        return Spot(self.place, owner, ()) if owner else self

    def item(self) -> Spot:
        """Return the spot of one entry of a list."""
        return replace(self, place=self.place.item())

    def child(self, key: str) -> Spot:
        """Return the spot of one key."""
        keys = (*self.keys, key)
        for pattern, place in _TABLES.get(self.owner, {}).items():
            wanted = pattern.split(".")
            if len(wanted) == len(keys) and all(want in ("*", key) for want, key in zip(wanted, keys, strict=True)):
                return Spot(place, self.owner, keys)
        return Spot(_PART_OF_MODEL if self.owner == "model" else ANYWHERE, self.owner, keys)


ROOT = Spot(ANYWHERE, "config", ())
