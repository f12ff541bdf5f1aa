"""Overrides from the command line: what mmengine would create in silence is refused, with the key that was meant."""

import pytest

from kdhub.config import check_config, load_config
from kdhub.config.read.options import parse_options
from kdhub.errors import UsageError

CONFIG = """
    model = dict(
        type='kdhub.Distiller',
        student=dict(type='kdcheck.Student', width=4),
        teacher=dict(type='kdhub.ModelTeacher', model=dict(type='kdcheck.Student', width=8)),
        objectives=dict(logits=dict(loss=dict(type='kdhub.TemperatureKL'), student='head', teacher='head', weight=1.0)))
    train_dataloader = dict(batch_size=4, sampler=dict(type='DefaultSampler'), dataset=dict(type='kdcheck.Points'))
    train_cfg = dict(by_epoch=True, max_epochs=1)
    optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999)), clip_grad=dict(max_norm=1.0))
    custom_hooks = [dict(type='kdhub.ProgressHook'), dict(type='UnknownHook', interval=3)]
    default_hooks = dict(logger=dict(type='LoggerHook'), checkpoint=dict(interval=1))
    helper = dict(a=1)
"""


@pytest.fixture
def override(manager, write):
    """Read the config with overrides as typed."""
    path = write("a.py", CONFIG)
    return lambda *options: load_config(path, options, manager=manager)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.objectives.logits.weight=2", 2),  # is there
        ("model.objectives.logits.loss.temperature=4.5", 4.5),  # the loss takes it
        ("model.student.depth=3", 3),
        ("model.student.init_cfg=None", None),  # through **kwargs
        ("model.task_weight=0", 0),
        ("train_dataloader.num_workers=2", 2),  # torch's loader takes it
        ("train_dataloader.sampler.shuffle=False", False),
        ("train_cfg.val_interval=5", 5),
        ("optim_wrapper.optimizer.betas=(0.9,0.99)", (0.9, 0.99)),
        ("optim_wrapper.optimizer.betas.1=0.99", 0.99),  # mmengine's merging fails on it
        ("optim_wrapper.accumulative_counts=2", 2),
        ("custom_hooks.0.interval=7", 7),
        ("custom_hooks.1.other=7", 7),  # nobody knows what an unknown hook takes
        ("default_hooks.progress.metrics=3", 3),  # a hook that training adds
        ("default_hooks.checkpoint.create_symlink=False", False),  # swallowed by **kwargs, and no slip
        ("model.objectives.other.weight=2", 2),  # objectives have names of their own
        ("resume=True", True),
        ("work_dir=runs/a", "runs/a"),
        ("randomness.seed=3", 3),
        ("helper.a=2", 2),
        ("load_from=[a,b]", ["a", "b"]),
    ],
)
def test_what_exists_or_is_accepted_is_set(override, option, value):
    """A strict reader that refuses legal overrides is worked around."""
    path, _, _ = option.partition("=")
    found = override(option)
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list | tuple) else found[key]
    assert found == value


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("model.objectives.logits.wieght=2", "did you mean 'model.objectives.logits.weight'"),
        ("model.objectives.logist.weight=2", "did you mean 'model.objectives.logits'"),
        ("model.objectives.logits.loss.temprature=2", "did you mean 'model.objectives.logits.loss.temperature'"),
        ("model.stduent.width=2", "did you mean 'model.student'"),
        ("train_dataloader.batchsize=2", "did you mean 'train_dataloader.batch_size'"),
        ("train_cfg.max_epoch=2", "did you mean 'train_cfg.max_epochs'"),
        ("optim_wrapper.optimizer.weight_deacy=2", "did you mean 'optim_wrapper.optimizer.weight_decay'"),
        ("optim_wrapper.lr=2", "did you mean 'optim_wrapper.optimizer.lr'"),
        ("trian_cfg.max_epochs=2", "did you mean 'train_cfg'"),
        ("helper.b=2", "there is no 'b' in helper"),
        ("default_hooks.checkpoint.intervall=2", "did you mean 'default_hooks.checkpoint.interval'"),
        ("default_hooks.checkpiont.interval=2", "did you mean 'default_hooks.checkpoint'"),
        ("seed=2", "there is no 'seed'"),
        ("custom_hooks.2.interval=2", "custom_hooks is a list of 2 (expected an index from 0)"),
        ("custom_hooks.first.interval=2", "custom_hooks is a list of 2"),
        ("model.objectives.logits.weight.end=2", "model.objectives.logits.weight is 1.0, which has no keys"),
        ("model.objectives.logits.weight", "not an override"),
        ("=3", "not an override"),
        ("load_from=[a,(b]", "brackets do not match"),
    ],
)
def test_what_would_be_created_in_silence_is_refused(override, option, words):
    """The run would go without the override, and nobody would notice before the results."""
    with pytest.raises(UsageError) as caught:
        override(option)
    assert words in str(caught.value)
    assert "--cfg-options" in str(caught.value)


def test_an_override_may_change_a_type(override):
    """The keys of the new type are then accepted by the check, not here."""
    cfg = override("model.objectives.logits.loss.type=kdhub.MSE", "model.objectives.logits.adapter.type=kdhub.Conv1x1")
    assert cfg.model.objectives.logits.loss.type == "kdhub.MSE"
    assert cfg.model.objectives.logits.adapter == {"type": "kdhub.Conv1x1"}


LOSS = "model.objectives.logits.loss"


@pytest.mark.parametrize(
    ("options", "path", "left"),
    [
        (("X.type=kdhub.SmoothL1", "X.beta=2"), LOSS, {"type": "kdhub.SmoothL1", "beta": 2}),
        (("X.beta=2", "X.type=kdhub.SmoothL1"), LOSS, {"type": "kdhub.SmoothL1", "beta": 2}),
        (("X.lr=1", "X._delete_=True", "X.type=SGD"), "optim_wrapper.optimizer", {"type": "SGD", "lr": 1}),
        (("X._delete_=True",), "model.objectives.logits", {}),
        (("X._delete_=False",), LOSS, {"type": "kdhub.TemperatureKL"}),
        (("X={}", "X.only.weight=2"), "model.objectives", {"only": {"weight": 2}}),
    ],
)
def test_overrides_hold_together(override, options, path, left):
    """As mmengine reads them: a new type with its keys was refused, and so was `_delete_`, since each was judged alone."""
    found = override(*(option.replace("X", path) for option in options))
    for key in path.split("."):
        found = found[key]
    assert found == left


def test_a_key_of_the_former_type_is_judged_by_the_new_one(override):
    """A temperature that no optimizer step ever reads was accepted beside the type that replaces its owner."""
    with pytest.raises(UsageError, match=r"did you mean 'model\.objectives\.logits\.loss\.beta'"):
        override(f"{LOSS}.type=kdhub.SmoothL1", f"{LOSS}.betta=2")


def test_overrides_that_contradict_each_other_are_told(override):
    """One of the two would be lost, by their order."""
    with pytest.raises(
        UsageError, match=r"--cfg-options model\.student\.width: model\.student is None, which has no keys"
    ):
        override("model.student=None", "model.student.width=3")


def test_a_dict_is_merged_into_a_dict(manager, write):
    """As in mmengine, where `_delete_` replaces it."""
    path = write("a.py", CONFIG)
    new = {"type": "kdcheck.Points", "_delete_": True}
    options = {"train_cfg": {"max_epochs": 7}, "train_dataloader": new, "custom_hooks.1": {"interval": 4}}
    cfg = load_config(path, options, manager=manager)
    assert cfg.train_cfg == {"by_epoch": True, "max_epochs": 7}
    assert cfg.train_dataloader == {"type": "kdcheck.Points"}
    assert cfg.custom_hooks[1] == {"type": "UnknownHook", "interval": 4}


def test_values_are_parsed_as_mmengine_does():
    """Users of mmseg and mmdet know these rules."""
    typed = ["a=1", "b=1.5", "c=true", "d=None", "e=x,y", "f=[1,(2,3)]", "g=a=b", "h=my data", "i='1'"]
    assert parse_options(typed) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": ["x", "y"],
        "f": [1, (2, 3)],
        "g": "a=b",
        "h": "my data",  # unlike mmengine, which makes it 'mydata'
        "i": 1,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/data/my set (1)", "/data/my set (1)"),
        ("/data/my set (a, b)", "/data/my set (a, b)"),
        ("(old) set", "(old) set"),
        ("/data/[x", "/data/[x"),
        ("/data/x,y z", ["/data/x", "y z"]),
        ("[/my set (1), other set ]", ["/my set (1)", "other set"]),
        (" ( 1 , [ 2 , 3 ] , 'a b' , ) ", (1, [2, 3], "a b")),
        ("(1,2),(3,4)", [(1, 2), (3, 4)]),
        ("1,", [1]),
        ("()", ()),
        ("[]", []),
        ("", ""),
    ],
)
def test_a_text_keeps_its_blanks_and_brackets(text, value):
    """Mmengine reads another folder than the one typed, or recurses until Python gives up."""
    assert parse_options([f"a={text}"]) == {"a": value}


@pytest.mark.parametrize("text", ["[1,2", "(1,2]", "1,2)", "[a", "x(1,2"])
def test_brackets_that_do_not_match_are_told(text):
    """A list that became a text would fail far from what was typed."""
    with pytest.raises(UsageError, match="--cfg-options a: brackets do not match"):
        parse_options([f"a={text}"])


def test_overrides_may_come_as_a_mapping(manager, write):
    """Notebooks have values, not text."""
    cfg = load_config(write("a.py", CONFIG), {"train_cfg.max_epochs": 7}, manager=manager)
    assert cfg.train_cfg.max_epochs == 7


@pytest.mark.parametrize(
    ("option", "left"),
    [("model.objectives={}", {}), ("model.objectives.logits=None", {"logits": None}), ("model.objectives=None", None)],
)
def test_objectives_can_be_left_out(override, manager, option, left):
    """The ablation that people want first was refused: `{}` was merged into the dict, or became a text."""
    cfg = override(option)
    assert cfg.model.objectives == left
    paths = {finding.path: finding.level for finding in check_config(cfg, manager).findings}
    assert paths["model.objectives"] == "warning"
