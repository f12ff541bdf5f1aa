"""Properties of the check, over random mistakes and random configs."""

import copy

from hypothesis import HealthCheck, given, settings, strategies as st

from kdhub.config.read.options import paths_in

ANY_NAME = {"model.objectives", "default_hooks", "optim_wrapper.clip_grad"}
"""Dicts whose keys are names that the user chooses, or go to a function that the check does not know."""

# the fixtures hold nothing that an example changes
quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def keys_of(tree, path=""):
    """Yield (path of the dict, key) of every key whose name is not free."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        here = f"{path}.{key}".lstrip(".")
        if isinstance(tree, dict) and path not in ANY_NAME:
            yield path, key
        if isinstance(value, dict | list):
            yield from keys_of(value, here)


def misspell(word, position, kind):
    """Swap two letters, drop one or type one twice; returns None if the word stays the same."""
    position %= len(word)
    if kind == "double":
        return word[: position + 1] + word[position:]
    if kind == "drop":
        return (word[:position] + word[position + 1 :]) or None
    swapped = word[:position] + word[position : position + 2][::-1] + word[position + 2 :]
    return swapped if swapped != word else None


@quick
@given(data=st.data(), position=st.integers(0, 30), kind=st.sampled_from(["double", "drop", "swap"]))
def test_a_misspelt_key_is_always_found_at_its_path(check, valid, data, position, kind):
    """A single key that slips through is a run without what it was to set."""
    path, key = data.draw(st.sampled_from(list(keys_of(valid))))
    wrong = misspell(key, position, kind)
    if wrong is None:
        return
    cfg = copy.deepcopy(valid)
    owner = cfg
    for part in path.split(".") if path else ():
        owner = owner[int(part)] if isinstance(owner, list) else owner[part]
    owner[wrong] = owner.pop(key)
    found = {finding.path: finding.message for finding in check(cfg)}
    # a dict that lost its type is an error as a whole, and a slip may be the name of another parameter
    missed = "'type'" if key == "type" else f"needs {key!r}"
    assert f"{path}.{wrong}".lstrip(".") in found or missed in found.get(path, ""), (path, wrong, found)


@quick
@given(data=st.data(), position=st.integers(0, 30), kind=st.sampled_from(["double", "drop", "swap"]))
def test_a_misspelt_type_is_always_found_at_its_path(check, valid, data, position, kind):
    """A type that cannot be resolved must stop before the data is read and the teacher is loaded."""
    of_plugins = [
        (path, owner["type"]) for path, owner in typed(valid) if owner["type"].startswith(("kdhub.", "kdcheck."))
    ]
    path, type_ = data.draw(st.sampled_from(of_plugins))
    wrong = misspell(type_, position, kind)
    if wrong is None or "." not in wrong.strip("."):
        return
    cfg = copy.deepcopy(valid)
    next(owner for place, owner in typed(cfg) if place == path)["type"] = wrong
    found = {finding.path for finding in check(cfg)}
    assert f"{path}.type" in found, (wrong, found)


def typed(tree, path=""):
    """Yield (path, dict) of every dict with a type."""
    if isinstance(tree, dict) and "type" in tree:
        yield path, tree
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from typed(value, f"{path}.{key}".lstrip("."))


# fmt: off
WORDS = [
    "model", "train_dataloader", "train_cfg", "optim_wrapper", "optimizer", "val_evaluator", "custom_hooks",
    "default_hooks", "checkpoint", "kdhub", "require", "type", "student", "teacher", "teachers", "objectives", "loss",
    "adapter", "batch", "weight", "path", "call", "guards", "dataset", "sampler", "by_epoch", "default_scope",
    "custom_imports", "imports", "_delete_", "_scope_", "a.b", "0",
]
TYPES = [
    "kdhub.Distiller", "kdhub.MSE", "kdcheck.Triplet", "kdcheck.Student", "kdhub.Linear", "kdhub.ModelTeacher", "AdamW",
    "kdhub.", ".x", "a:b",
]
# fmt: on
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=25,
)


@quick
@given(cfg=st.dictionaries(st.sampled_from(WORDS), values, max_size=8), inside=st.booleans())
def test_no_config_makes_the_check_raise(check, cfg, inside):
    """A check that crashes on a malformed config, or names a place that is not there, fails where it is needed most."""
    if inside:
        cfg = {"model": {"type": "kdhub.Distiller", **cfg}}
    found = check(cfg)
    there = {"", *paths_in(cfg)}
    for finding in found:
        assert finding.path in there or finding.path.rpartition(".")[0] in there, finding
        assert finding.line().startswith(f"{finding.level}: {finding.path}")
    if cfg.get("model") is None:
        assert "model" in {finding.path for finding in found if finding.level == "error"}
