"""The private names of mmengine that kdhub uses: there is no public way to do what they do, and any release may change them.

They stand where they are used, most of them in subclasses of mmengine's own classes. This list is what to look at before the
upper bound of onedl-mmengine in pyproject.toml is raised.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import mmengine
import pytest

PRIVATE = {
    "mmengine.config:Config": ["_get_cfg_path"],
    "mmengine.config:DictAction": ["_parse_int_float_bool"],
    "mmengine.hooks:CheckpointHook": ["_save_best_checkpoint"],
    "mmengine.hooks:EMAHook": ["_ema_started", "_swap_ema_parameters"],
    "mmengine.model:BaseModel": ["_run_forward", "_set_device"],
    "mmengine.optim:OptimWrapper": ["_accumulative_counts", "_inner_count"],
    "mmengine.registry:Registry": ["_module_dict", "_register_module"],
    "mmengine.runner:EpochBasedTrainLoop": ["_epoch", "_iter", "_max_epochs"],
    "mmengine.runner:IterBasedTrainLoop": ["_epoch", "_iter", "_max_iters"],
    "mmengine.runner:Runner": [
        "_hooks", "_init_model_weights", "_load_from", "_randomness_cfg", "_resume", "_train_dataloader", "_train_loop",
    ],
    "mmengine.runner.checkpoint": ["_process_mmcls_checkpoint"],
    "mmengine.runner.checkpoint:CheckpointLoader": ["_schemes"],
}  # fmt: skip
"""Where each is defined, to what is used of it."""

NAMES = [(where, name) for where, names in PRIVATE.items() for name in names]
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("where", "name"), NAMES)
def test_a_private_name_is_there(where, name):
    """After an upgrade a missing one would show as an AttributeError in the middle of a run, or as a value that nobody reads."""
    module, _, attribute = where.partition(":")
    owner = importlib.import_module(module)
    if attribute:
        owner = getattr(owner, attribute)
        sources = [inspect.getsource(base) for base in owner.__mro__ if base.__module__.startswith("mmengine")]
        assert hasattr(owner, name) or any(f"self.{name}" in source for source in sources)
    else:
        assert hasattr(owner, name)


def test_no_other_private_name_is_used():
    """A list that lags behind the code says that an upgrade is safe when it is not."""
    theirs = set()
    for file in Path(mmengine.__file__).parent.rglob("*.py"):
        theirs |= set(
            re.findall(
                r"(?:def |self\.|^    (?=_\w+[ :=]))(_[a-z]\w*)",
                file.read_text(encoding="utf-8", errors="ignore"),
                re.MULTILINE,
            )
        )
    listed = {name for _, name in NAMES}
    files = [*(ROOT / "kdhub").rglob("*.py"), *(ROOT / "plugins").glob("*/kd*/**/*.py")]
    used = {(file.name, name) for file in files for name in _foreign(ast.parse(file.read_text(encoding="utf-8")))}
    assert {(file, name) for file, name in used if name in theirs and name not in listed} == set()


def _foreign(tree):
    """Yield the private attributes that a file reads and does not define itself."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        one.attr for one in nodes if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and _of_self(one)
    }
    own |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    for node in nodes:
        private = isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)
        if private and not (_of_self(node) and node.attr in own):
            yield node.attr


def _of_self(node):
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
