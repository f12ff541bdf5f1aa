"""Overrides of variables: mmengine changes the top-level key alone, and trains on the old data without a word."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from mmengine.config import Config

from kdhub.config import load_config
from kdhub.errors import UsageError

BASE = """
    data_root = 'data/camvid'
    norm_cfg = dict(type='SyncBN', requires_grad=True)
    crop_size = (512, 512)
    pipeline = [dict(type='Load'), dict(type='Crop', size=crop_size)]
    train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, lists=data_root + '/lists', pipeline=pipeline))
    val_dataloader = dict(dataset=dict(data_root=data_root))
    model = dict(width=crop_size[0], norm_cfg=norm_cfg)
"""


@pytest.fixture
def read(manager, write):
    """Write a config and read it with overrides as typed."""
    return lambda text, *options: load_config(write("a.py", text), options, manager=manager)


@pytest.fixture
def resolved(write):
    """Write the base as a run saves it: with all variables put in. Returns the text."""
    return Config.fromfile(write("base.py", BASE)).pretty_text


def test_a_variable_holds_wherever_it_is_used(read):
    """Data sets that keep the old folder are what nobody notices; a path made from it is found by no search."""
    cfg = read(BASE, "data_root=/elsewhere", "crop_size=(256,128)")
    assert cfg.data_root == "/elsewhere"
    assert cfg.train_dataloader.dataset.data_root == cfg.val_dataloader.dataset.data_root == "/elsewhere"
    assert cfg.train_dataloader.dataset.lists == "/elsewhere/lists"
    assert cfg.train_dataloader.dataset.pipeline[1]["size"] == (256, 128)
    assert cfg.model.width == 256


def test_a_part_of_a_variable_holds_too(read):
    """`norm_cfg.type=BN` is how SyncBN is taken out of mmseg's configs."""
    cfg = read(BASE, "norm_cfg.type=BN", "pipeline.1.size=(8,8)", "model.width=3")
    assert cfg.model == {"width": 3, "norm_cfg": {"type": "BN", "requires_grad": True}}
    assert cfg.train_dataloader.dataset.pipeline[1] == {"type": "Crop", "size": (8, 8)}


def test_a_variable_of_a_base_holds_in_base_and_heir(read, write):
    """Most configs say `data_root` in a file that others inherit."""
    write("base.py", BASE)
    heir = """
        _base_ = './base.py'
        root = {{_base_.data_root}}
        test_dataloader = dict(dataset=dict(data_root=root, other=_base_.data_root, norm_cfg={{_base_.norm_cfg}}))
    """
    cfg = read(heir, "data_root=/elsewhere", "norm_cfg.type=BN")
    assert cfg.train_dataloader.dataset.data_root == "/elsewhere"
    assert cfg.test_dataloader.dataset.data_root == cfg.test_dataloader.dataset.other == "/elsewhere"
    assert cfg.test_dataloader.dataset.norm_cfg.type == "BN"


def test_a_variable_set_by_base_and_heir_has_one_value(read, write):
    """To mmengine they are two; whoever types the name once means both."""
    write("base.py", BASE)
    cfg = read("_base_ = './base.py'\ncrop_size = (64, 64)\ntest_cfg = dict(size=crop_size)\n", "crop_size=(8,8)")
    assert cfg.model.width == 8
    assert cfg.test_cfg.size == (8, 8)


def test_a_part_is_overridden_where_it_is(read, write):
    """A SyncBN of the base that gets the heir's num_groups is built by nobody, or worse, by somebody."""
    write("base.py", "norm = dict(type='SyncBN')\nval_cfg = dict(norm=norm)\n")
    heir = "_base_ = './base.py'\nnorm = dict(type='GN', num_groups=32)\ntest_cfg = dict(norm=norm)\n"
    cfg = read(heir, "norm.num_groups=16")
    assert cfg.val_cfg.norm == {"type": "SyncBN"}
    assert cfg.norm == cfg.test_cfg.norm == {"type": "GN", "num_groups": 16}
    new = read("norm = dict(type='UnknownNorm')\nmodel = dict(norm=norm)\n", "norm.eps=0.1")
    assert new.model.norm == {"type": "UnknownNorm", "eps": 0.1}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("debug = False\nif not debug:\n    extra = 3\nmodel = dict(d=debug)\n", ["debug=True", "extra=5"]),
        ("debug = False\nif not debug:\n    extra = 3\nmodel = dict(d=debug)\n", ["extra=5", "debug=True"]),
        ("kind = 'a'\nmodel = dict(extra=1) if kind == 'a' else dict(b=2)\n", ["kind=b", "model.extra=5"]),
    ],
)
def test_what_another_override_removes_cannot_be_overridden(read, text, options):
    """A KeyError of ours, or a key that is created in silence."""
    with pytest.raises(UsageError, match="with the other overrides, there is no 'extra'"):
        read(text, *options)


def test_a_variable_that_an_override_removes_is_told(read):
    """The config may delete a variable by its value."""
    with pytest.raises(UsageError, match="changes 'size' after it has set it"):
        read("size = 3\nmodel = dict(width=size)\nif size != 3:\n    del size\n", "size=5")


def test_a_declaration_sets_nothing(read):
    """Set anew after it, the name would not be there yet."""
    assert read("size: int\nsize = 3\nmodel = dict(width=size)\n", "size=9").model.width == 9


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model = dict()\nfor size in (1, 2):\n    model[str(size)] = size\n", 2),
        ("model = dict(width=(size := 3), depth=size * 2)\n", 1),
    ],
)
def test_a_variable_that_cannot_be_set_anew_is_told(read, text, line):
    """Its uses would keep the old value in silence."""
    with pytest.raises(UsageError, match=rf"a\.py:{line}: 'size' cannot be overridden.*got --cfg-options size=9"):
        read(text, "size=9")
    text = "sizes = []\nfor one in (1, 2):\n    size = one\n    sizes.append(size)\nmodel = dict(sizes=sizes)\n"
    assert read(text, "size=9").model.sizes == [9, 9]


def test_a_config_of_the_new_style_is_run_again_too(read, write):
    """Configs that import their bases are read by another part of mmengine."""
    write("base.py", "size = 3\nval_cfg = dict(size=size)\n")
    text = (
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\nmodel = dict(width=size)\n"
    )
    cfg = read(text, "size=7")
    assert (cfg.size, cfg.val_cfg.size, cfg.model.width) == (7, 7, 7)


def test_a_saved_config_says_what_to_type(read, resolved):
    """In the config.py of a run the variable is still there, and nothing uses it any more."""
    with pytest.raises(UsageError) as caught:
        read(resolved, "data_root=/else where")
    assert str(caught.value) == (
        "--cfg-options 'data_root=/else where': nothing in the config uses 'data_root', and its value stands at "
        "train_dataloader.dataset.data_root, train_dataloader.dataset.lists, val_dataloader.dataset.data_root "
        "-> --cfg-options 'train_dataloader.dataset.data_root=/else where' "
        "'train_dataloader.dataset.lists=/else where/lists' 'val_dataloader.dataset.data_root=/else where'"
    )
    with pytest.raises(UsageError, match=r"-> --cfg-options model\.norm_cfg\.type=BN$"):
        read(resolved, "norm_cfg.type=BN")


def test_what_it_says_is_accepted(read, resolved):
    """An error whose remedy fails is worse than none, also when the variable is typed again."""
    said = [f"{split}_dataloader.dataset.data_root=/elsewhere" for split in ("train", "val")]
    said.append("train_dataloader.dataset.lists=/elsewhere/lists")
    for options in (said, ["data_root=/elsewhere", *said]):
        assert read(resolved, *options).val_dataloader.dataset.data_root == "/elsewhere"


def test_a_path_in_a_stale_folder_is_told(read):
    """Annotations of the old data set beside images of the new one; a folder that only begins alike is another."""
    text = "data_root = 'data/a/'\nval_dataloader = dict(dataset=dict(ann_file='data/a/lists', img='data/ab/c'))\n"
    with pytest.raises(UsageError, match=r"-> --cfg-options val_dataloader\.dataset\.ann_file=/b/lists$"):
        read(text, "data_root=/b")
    assert read(text, "data_root=None").data_root is None  # there is no path in nothing


def test_a_stale_float_is_told(read):
    """A learning rate typed in vain; a whole number stands in many places by chance."""
    text = "base_lr = 0.01\nscale = 1.0\noptim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=1.0))\n"
    with pytest.raises(UsageError, match=r"-> --cfg-options optim_wrapper\.optimizer\.lr=0\.5$"):
        read(text, "base_lr=0.5")
    assert read(text, "scale=2.0").optim_wrapper.optimizer.momentum == 1.0


def test_a_file_without_variables_says_what_to_type(manager, write):
    """JSON has names, and nothing that could use them."""
    path = write("a.json", '{"data_root": "here", "val_dataloader": {"dataset": {"data_root": "here"}}}')
    with pytest.raises(UsageError, match=r"-> --cfg-options val_dataloader\.dataset\.data_root=/elsewhere$"):
        load_config(path, ["data_root=/elsewhere"], manager=manager)


@pytest.mark.parametrize(
    "option",
    ["work_dir=data", "load_from=b", "resume=True", "default_scope=mmseg", "randomness.seed=2", "my_hooks_own=9"],
)
def test_a_key_that_somebody_reads_is_no_variable(read, option):
    """A hook may read a key of its own; numbers are equal by chance."""
    text = """
        work_dir = 'data'; load_from = 'a'; resume = False; default_scope = 'mmengine'; randomness = dict(seed=4)
        my_hooks_own = 4
        train_dataloader = dict(batch_size=4, dataset=dict(data_root='data', checkpoint='a', scope='mmengine', random=False))
    """
    before = Config({"value": read(text).train_dataloader}).value
    assert read(text, option).train_dataloader == before


def test_a_variable_that_is_changed_later_is_not_misplaced(read):
    """Position 1 of the finished list is another step than position 1 of the list at first."""
    text = "steps = ['a', 'b']\nsteps.insert(0, 'first')\nmodel = dict(steps=steps)\n"
    with pytest.raises(
        UsageError, match="changes 'steps' after it has set it.* -> override what is made from it, in model"
    ):
        read(text, "steps.1=x")
    cfg = read("root = 'a'\nroot += '/b'\nmodel = dict(root=root, low=root.lower())\n", "root=X")
    assert cfg.model == {"root": "X", "low": "x"}


def test_a_variable_inside_a_function_is_another(read):
    """The config's own functions keep their names to themselves."""
    text = "size = 3\ndef twice(x):\n    size = 2 * x\n    return size\nmodel = dict(width=twice(4), size=size)\n"
    assert read(text, "size=5").model == {"width": 8, "size": 5}


def test_a_value_with_which_the_config_cannot_run_is_told(read):
    """The line of the config alone would send the user to a file that is in order."""
    with pytest.raises(UsageError, match=r"a\.py:8: .*not subscriptable.*got --cfg-options crop_size=5"):
        read(BASE, "crop_size=5")


def test_mmengine_is_left_as_it_was(read):
    """Other programs in the process read configs too."""
    import mmengine.config.config as module

    read(BASE, "data_root=/elsewhere")
    assert "compile" not in vars(module)
    with pytest.raises(UsageError, match="not subscriptable"):
        read(BASE, "crop_size=5")
    assert "compile" not in vars(module)
    assert read(BASE).val_dataloader.dataset.data_root == "data/camvid"


def test_threads_read_configs_without_harm(manager, write):
    """One thread's override in another's config, or mmengine left changed for good."""
    slow = "import time\nsize = 3\ntime.sleep(0.02)\nmodel = dict(width=size)\n"
    paths = [write(f"{name}.py", slow) for name in "abc"]

    def widths(index):
        options = {"size": 100 + index} if index else {}
        return [load_config(paths[index], options, manager=manager).model.width for _ in range(4)]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(widths, range(3))) == [[3] * 4, [101] * 4, [102] * 4]
