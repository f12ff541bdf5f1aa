"""Overrides of variables: mmengine changes the top-level key alone, and trains on the old data without a word."""

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


def refusal(read, text, *options):
    """The error that these overrides give."""
    with pytest.raises(UsageError) as caught:
        read(text, *options)
    return str(caught.value)


def test_a_variable_is_refused_with_what_to_type(read):
    """Data sets that keep the old folder are what nobody notices; a path made from it is found by no search."""
    text = refusal(read, BASE, "data_root=/else where")
    assert text.startswith("--cfg-options 'data_root=/else where': 'data_root' is a variable of the config")
    assert "a.py:6, " in text
    assert text.endswith(
        "a.py:7 -> override what these lines set: --cfg-options 'train_dataloader.dataset.data_root=/else where' "
        "'train_dataloader.dataset.lists=/else where/lists' 'val_dataloader.dataset.data_root=/else where'"
    )


def test_a_part_of_a_variable_is_refused_too(read):
    """`norm_cfg.type=BN` is how SyncBN is taken out of mmseg's configs; the built model would keep it."""
    text = refusal(read, BASE, "norm_cfg.type=BN", "model.width=3")
    assert text.endswith("a.py:8 -> override what these lines set: --cfg-options model.norm_cfg.type=BN")


def test_what_is_made_otherwise_is_told_by_its_line(read):
    """`model.width` is 512 by the variable, and no comparison of values shows that."""
    text = refusal(read, BASE, "crop_size=(256,128)")
    assert "a.py:5, " in text
    assert "a.py:8 -> " in text
    assert text.endswith("--cfg-options 'train_dataloader.dataset.pipeline.1.size=(256,128)'")
    text = refusal(read, "debug = False\nmodel = dict(width=1 if debug else 64)\n", "debug=True")
    assert text.endswith("a.py:2 -> override what these lines set")


def test_a_variable_that_base_or_heir_reads_is_refused(read, write):
    """Most configs say `data_root` in a file that others inherit; to mmengine an heir's variable of that name is another."""
    base = write("base.py", BASE)
    heir = "_base_ = './base.py'\nroot = {{_base_.data_root}}\nval_cfg = dict(a=root, b=_base_.crop_size[1])\n"
    text = refusal(read, heir, "data_root=/elsewhere")
    assert f"a.py:2, {base}:6, {base}:7 -> " in text
    assert "val_cfg.a=/elsewhere" in text
    assert "a.py:3, " in refusal(read, heir, "crop_size=(1,2)")
    assert f"{base}:6" in refusal(read, "_base_ = './base.py'\ndata_root = 'b'\n", "data_root=c")


def test_a_config_that_imports_its_bases_takes_no_variable(read, write):
    """Its bases are not looked at, so nobody can tell whether they use the variable."""
    write("base.py", "size = 3\nval_cfg = dict(size=size)\n")
    text = "from mmengine.config import read_base\nwith read_base():\n    from .base import *\nmodel = dict(width=3)\n"
    assert "a.py -> override what these lines set: --cfg-options val_cfg.size=7" in refusal(read, text, "size=7")
    assert read(text, "model.width=4").model.width == 4


def test_a_saved_config_says_what_to_type(read, resolved):
    """In the config.py of a run the variable is still there, and nothing uses it any more."""
    assert refusal(read, resolved, "data_root=/elsewhere") == (
        "--cfg-options data_root=/elsewhere: 'data_root' is a variable of the config, and what is made from it would keep "
        "the old value: "
        "train_dataloader.dataset.data_root, train_dataloader.dataset.lists, val_dataloader.dataset.data_root "
        "-> --cfg-options train_dataloader.dataset.data_root=/elsewhere "
        "train_dataloader.dataset.lists=/elsewhere/lists val_dataloader.dataset.data_root=/elsewhere"
    )
    assert refusal(read, resolved, "norm_cfg.type=BN").endswith("-> --cfg-options model.norm_cfg.type=BN")


def test_what_it_says_is_accepted(read, resolved):
    """An error whose remedy fails is worse than none."""
    said = [f"{split}_dataloader.dataset.data_root=/elsewhere" for split in ("train", "val")]
    said.append("train_dataloader.dataset.lists=/elsewhere/lists")
    for text in (BASE, resolved):
        assert read(text, *said).val_dataloader.dataset.data_root == "/elsewhere"


def test_a_path_in_a_stale_folder_is_told(read):
    """Annotations of the old data set beside images of the new one; a folder that only begins alike is another."""
    text = "data_root = 'data/a/'\nval_dataloader = dict(dataset=dict(ann_file='data/a/lists', img='data/ab/c'))\n"
    told = refusal(read, text, "data_root=/b")
    assert told.endswith("-> --cfg-options val_dataloader.dataset.ann_file=/b/lists")
    assert read(text, "data_root=None").data_root is None  # there is no path in nothing


def test_a_stale_float_is_told(read):
    """A learning rate typed in vain; a whole number stands in many places by chance."""
    text = "base_lr = 0.01\nscale = 1.0\noptim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=1.0))\n"
    assert refusal(read, text, "base_lr=0.5").endswith("-> --cfg-options optim_wrapper.optimizer.lr=0.5")
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
    cfg = read(text, option)
    assert cfg.train_dataloader == before
    assert cfg.my_hooks_own == (9 if option == "my_hooks_own=9" else 4)
