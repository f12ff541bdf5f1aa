"""A seeded mutator of configs: sixteen operators make the mistakes that people make, one a mutant.

``mutant(seed, bases)`` is always the same: `test_mutants.py` replays one by its seed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]
Key = tuple[str | int, ...]

FREE_NAMES = ("objectives", "teachers", "custom_imports")
"""Dicts whose keys are the user's own names: misspelling one misspells nothing."""
SIGNED = ("interval", "max_keep_ckpts", "start", "end", "weight", "task_weight", "seed", "momentum", "begin")
"""Numbers that may be negative: -1 says "never" or "all" to mmengine's hooks; a weight is refused by a rule of its own."""
DANGEROUS = ("num_workers", "opencv_num_threads")
"""Numbers of processes: the huge ones would take the machine along."""
LISTS_WELCOME = ("val_evaluator", "param_scheduler", "adapter", "type", "vis_backends", "custom_hooks")
"""Where one component and a list of one are the same."""


@dataclass(frozen=True)
class Mutant:
    """One config with one mistake.

    Attributes:
        seed: What it was made from.
        operator: Name of the operator.
        base: Name of the config it was made of.
        path: Key path of the mistake.
        what: What was done there.
        cfg: The config.
        harmless: Whether it may train without a word: what the operator did means something, or nothing at all.
    """

    seed: int
    operator: str
    base: str
    path: str
    what: str
    cfg: Tree
    harmless: bool

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.operator} in {self.base}: {self.path}: {self.what}"


def mutant(seed: int, bases: Mapping[str, Tree]) -> Mutant:
    """Make one mutant; operators and bases take turns, and where in the config is drawn from the seed."""
    generator = random.Random(seed)
    names = list(OPERATORS)
    operator = names[seed % len(names)]
    base = list(bases)[seed // len(names) % len(bases)]
    cfg = copy.deepcopy(bases[base])
    path, what, harmless = OPERATORS[operator](generator, cfg)
    return Mutant(seed, operator, base, ".".join(map(str, path)), what, cfg, harmless)


def nodes(value: Any, path: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield every part of a config with its key path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key), child
        yield from nodes(child, (*path, key))


def _draw(generator: random.Random, cfg: Tree, wanted: Callable[[Key, Any], bool]) -> tuple[Key, Any]:
    # first the depth, as most keys of a config lie deep
    found = [
        (path, value)
        for path, value in nodes(cfg)
        if wanted(path, value) and path[0] not in ("work_dir", "custom_imports")
    ]
    depth = generator.choice(sorted({len(path) for path, _ in found}))
    return generator.choice([one for one in found if len(one[0]) == depth])


def _put(cfg: Tree, path: Key, value: Any) -> None:
    owner: Any = cfg
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value


def _misspelt(generator: random.Random, word: str) -> str:
    for _ in range(20):
        at = generator.randrange(len(word))
        kind = generator.choice(("double", "drop", "swap", "change"))
        wrong = {
            "double": word[:at] + word[at] + word[at:],
            "drop": word[:at] + word[at + 1 :],
            "swap": word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
            "change": word[:at] + generator.choice("aeionrst") + word[at + 1 :],
        }[kind]
        if wrong and wrong != word and not wrong.endswith(".") and wrong.strip("_") == wrong:
            return wrong
    return word + word[-1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_key(path: Key, value: Any) -> bool:
    free = any(path[:-1] and path[-2] == name for name in FREE_NAMES)
    return isinstance(path[-1], str) and not free


def misspelt_key(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, _value = _draw(generator, cfg, _is_key)
    owner: Any = cfg
    for key in path[:-1]:
        owner = owner[key]
    wrong = _misspelt(generator, str(path[-1]))
    parts = [(wrong if key == path[-1] else key, child) for key, child in owner.items()]
    owner.clear()
    owner.update(parts)
    return path, f"key {wrong!r}", False


def misspelt_type(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: path[-1] == "type" and isinstance(value, str))
    wrong = _misspelt(generator, value)
    _put(cfg, path, wrong)
    return path, f"type {wrong!r}", False


def unknown_type(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, _ = _draw(generator, cfg, lambda path, value: path[-1] == "type")
    wrong = generator.choice(("resnet18", "Foo", "torchvision.models.resnet19", "kdhub.Foo", "Sequential", "", 3))
    _put(cfg, path, wrong)
    return path, f"type {wrong!r}", False


def wrong_scope(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: path[-1] == "type" and isinstance(value, str))
    scope, _dot, name = value.rpartition(".")
    wrong = (
        f"{generator.choice([one for one in ('kdhub', 'kdtoy', 'mmdet', 'nobody', 'torch') if one != scope])}.{name}"
    )
    _put(cfg, path, wrong)
    # mmengine looks in the parent of mmdet's registry for what mmdet does not have, and finds the same class
    return path, f"type {wrong!r}", not scope and wrong.startswith("mmdet.")


def another_kind(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: path[-1] == "type" and isinstance(value, str))
    others = sorted(
        {there for where, there in nodes(cfg) if where[-1] == "type" and there != value and where[:-2] != path[:-2]}
    )
    wrong = generator.choice(others)
    _put(cfg, path, wrong)
    # one metric, sampler or optimizer is as good as another
    return path, f"type {wrong!r}", "Sampler" in wrong and "Sampler" in value


def text_for_number(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: _is_number(value))
    wrong = generator.choice((f"{value}x", "abc", f"{value}", ""))
    _put(cfg, path, wrong)
    return path, repr(wrong), False


def negative_number(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: _is_number(value))
    wrong = -value if value > 0 else -1
    _put(cfg, path, wrong)
    return path, repr(wrong), path[-1] in SIGNED


def zero(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: _is_number(value) and value != 0)
    _put(cfg, path, type(value)(0))
    return path, "0", True


def huge_number(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: _is_number(value) and path[-1] not in DANGEROUS)
    wrong = 10**15 if isinstance(value, int) else 1e30
    _put(cfg, path, wrong)
    return path, repr(wrong), True


def fraction(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: _is_number(value) and isinstance(value, int))
    _put(cfg, path, value + 0.5)
    return path, repr(value + 0.5), path[-1] in ("end", "weight", "task_weight", "start", "lr", "temperature")


def nothing(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, _value = _draw(generator, cfg, lambda path, value: isinstance(path[-1], str))
    _put(cfg, path, None)
    return path, "None", True


def missing_part(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, _value = _draw(generator, cfg, lambda path, value: True)
    owner: Any = cfg
    for key in path[:-1]:
        owner = owner[key]
    del owner[path[-1]]
    return path, "left out", True


def list_for_dict(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: isinstance(value, dict) and isinstance(path[-1], str))
    wrong = generator.choice(([value], [value, copy.deepcopy(value)], []))
    _put(cfg, path, wrong)
    return path, f"a list of {len(wrong)}", path[-1] in LISTS_WELCOME or path[0] in LISTS_WELCOME or not wrong


def dict_for_value(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: not isinstance(value, dict))
    wrong = {"value": value} if not isinstance(value, list) else dict(enumerate(map(copy.deepcopy, value)))
    wrong = {str(key): child for key, child in wrong.items()}
    _put(cfg, path, wrong)
    return path, repr(wrong)[:60], False


def text_for_part(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    path, value = _draw(generator, cfg, lambda path, value: isinstance(value, dict | list | bool))
    wrong = "some text" if isinstance(value, dict | list) else generator.choice(("yes", 7))
    _put(cfg, path, wrong)
    return path, repr(wrong), False


def unknown_name(generator: random.Random, cfg: Tree) -> tuple[Key, str, bool]:
    """Misspell what names a metric, a path into a model, a field of the batch, a teacher or a file."""
    names = (
        "save_best",
        "student",
        "teacher",
        "monitor",
        "path",
        "checkpoint",
        "rule",
        "priority",
        "labels",
        "load_from",
    )
    path, value = _draw(
        generator, cfg, lambda path, value: isinstance(value, str) and (path[-1] in names or "batch" in path)
    )
    wrong = _misspelt(generator, value)
    _put(cfg, path, wrong)
    return path, repr(wrong), False


OPERATORS: dict[str, Callable[[random.Random, Tree], tuple[Key, str, bool]]] = {
    operator.__name__: operator
    for operator in (
        misspelt_key,
        misspelt_type,
        unknown_type,
        wrong_scope,
        another_kind,
        text_for_number,
        negative_number,
        zero,
        huge_number,
        fraction,
        nothing,
        missing_part,
        list_for_dict,
        dict_for_value,
        text_for_part,
        unknown_name,
    )
}
