"""Types and keys: every mistake is found at its exact path, with what was probably meant."""

import copy

import pytest


def test_a_right_config_has_no_findings(findings, valid):
    """A checker that complains about right configs is switched off."""
    assert findings(valid) == {}


def test_a_right_config_has_no_findings_in_depth(findings, valid):
    """What source files say and what Python binds must not differ."""
    assert findings(valid, deep=True) == {}


def put(cfg, path, value):
    """Set the value at a key path, in the notation of findings."""
    *way, last = path.split(".")
    for part in way:
        cfg = cfg[int(part)] if isinstance(cfg, list) else cfg[part]
    cfg[int(last) if isinstance(cfg, list) else last] = value


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("model.teachr", "teacher"),
        ("model.student.widht", "width"),
        ("model.student.init_cgf", "init_cfg"),  # handed to the base class through **kwargs
        ("model.teacher.checkpont", "checkpoint"),
        ("model.guards.zero_trem", "zero_term"),
        ("model.objectives.logits.wieght", "weight"),
        ("model.objectives.logits.loss.temprature", "temperature"),
        ("model.objectives.logits.adapter.0.aling_corners", "align_corners"),
        ("model.objectives.logits.weight.strat", "start"),
        ("model.objectives.triplet.student.student.pth", "path"),
        ("train_dataloader.batchsize", "batch_size"),
        ("train_dataloader.sampler.shufle", "shuffle"),
        ("train_dataloader.dataset.data_rot", "data_root"),
        ("train_cfg.max_epoch", "max_epochs"),
        ("val_evaluator.0.prefx", "prefix"),
        ("optim_wrapper.acumulative_counts", "accumulative_counts"),
        ("optim_wrapper.optimizer.weight_deacy", "weight_decay"),
        ("param_scheduler.0.start_facto", "start_factor"),
        ("default_hooks.progress.intervall", "interval"),
        ("default_hooks.logger.interwal", "interval"),
        ("custom_hooks.0.priorty", "priority"),
        ("randomness.sed", "seed"),
    ],
)
def test_an_unknown_key_is_found_at_its_path(findings, valid, path, near):
    """Python says `unexpected keyword argument` without a place, if anything is said at all."""
    put(valid, path, 1)
    found = findings(valid)
    assert list(found) == [path]
    assert found[path].level == "error"
    assert near in found[path].near


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.type", "kdhub.Distillr", "did you mean 'kdhub.Distiller'"),
        ("model.student.type", "kdcheck.Studnet", "did you mean 'kdcheck.Student'"),
        ("model.student.type", "kdchek.Student", "did you mean 'kdcheck.Student'"),
        ("model.student.type", "kdseg.Student", "plugins/kdhub-segmentation"),
        ("model.student.type", "mmpose.TopdownPoseEstimator", "package 'mmpose' is not installed"),
        ("model.student.type", 3, "expected a name or a class"),
        ("model.objectives.logits.loss.type", "kdhub.SpatialResize", "is an adapter; this place wants a loss"),
        ("model.objectives.logits.loss.type", "MSE", "did you mean 'kdhub.MSE'"),
        ("model.objectives.logits.adapter.0.type", "kdhub.MSE", "is a loss; this place wants an adapter"),
        ("model.objectives.logits.weight.type", "kdhub.Linear", "is an adapter; this place wants a schedule"),
        ("model.objectives.triplet.student.student.type", "kdhub.Linear", "this place wants a tap"),
        ("model.teacher.type", "kdcheck.Student", "is a model; this place wants a teacher"),
        ("train_dataloader.dataset.type", "kdcheck.Error", "is a metric; this place wants a dataset"),
        ("val_evaluator.0.type", "kdcheck.Points", "is a dataset; this place wants a metric"),
        ("custom_hooks.0.type", "ProgressHook", "did you mean 'kdhub.ProgressHook'"),
    ],
)
def test_a_wrong_type_says_which_of_the_causes_it_is(findings, valid, path, value, words):
    """Not installed, misspelt, of another kind and without scope are four mistakes with four remedies."""
    put(valid, path, value)
    found = findings(valid)
    assert path in found
    assert found[path].level == "error"
    assert words in found[path].line()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("model.student", "width"),
        ("model.teacher", "model"),
        ("model.objectives.logits.weight", "steps"),
        ("model.objectives.triplet.student.student", "path"),
        ("train_dataloader", "dataset"),
        ("train_dataloader", "sampler"),
        ("train_dataloader.dataset", "data_root"),
        ("train_cfg", "max_epochs"),
        ("train_cfg", "by_epoch"),
        ("optim_wrapper", "optimizer"),
    ],
)
def test_a_missing_parameter_is_found_where_it_belongs(findings, valid, path, key):
    """A TypeError from inside a constructor comes after the teacher was loaded, and names no place."""
    part = valid
    for name in path.split("."):
        part = part[name]
    del part[key]
    found = findings(valid)
    assert list(found) == [path]
    assert repr(key) in found[path].message


@pytest.mark.parametrize(
    "path",
    [
        "model",
        "model.student",
        "model.teacher",
        "model.objectives.logits.loss",
        "custom_hooks.0",
        "default_hooks.mine",
    ],
)
def test_a_component_without_a_type_is_an_error(findings, valid, path):
    """The registry's own message for it does not say where."""
    put(valid, path, {"tpye": "x"})
    found = findings(valid)
    assert "without a 'type'" in found[path].message
    assert found[path].near == ("tpye",)


def test_options_of_mmengines_default_hooks_need_no_type(findings, valid):
    """`default_hooks.logger.interval=10` reads as a change of the logger that a run has anyway."""
    valid["default_hooks"] = {"logger": {"interval": 10, "priority": "LOW"}, "timer": {}, "param_scheduler": None}
    assert findings(valid) == {}
    valid["default_hooks"]["logger"] = {"intervall": 10}
    assert findings(valid)["default_hooks.logger.intervall"].near[0] == "interval"


def test_options_under_a_key_that_is_nobodys_are_an_error(findings, valid):
    """Which hook is meant, nobody knows; most likely the key is misspelt."""
    valid["default_hooks"] = {"loger": {"interval": 10}, "visualization": {"interval": 1}}
    found = findings(valid)
    assert found["default_hooks.loger"].near == ("logger",)
    assert "a key that needs none: baseline, checkpoint, " in found["default_hooks.visualization"].expected


@pytest.mark.parametrize("path", ["model.student", "model.objectives.logits.loss", "train_dataloader.dataset"])
def test_a_plain_value_is_no_component(findings, valid, path):
    """A name where a dict belongs would fail with an AttributeError."""
    put(valid, path, "kdcheck.Student")
    assert findings(valid)[path].message == "not a component"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("log_processor", {"window_size": 5.5}, "int"),
        ("visualizer", {"vis_backends": {"0": {"type": "LocalVisBackend"}}}, "list | None"),
    ],
)
def test_what_mmengine_takes_without_a_look_is_checked(findings, valid, path, value, expected):
    """A fraction of a window or a dict of backends ended in a traceback of mmengine, the first one after many iterations."""
    valid[path] = value
    finding = findings(valid)[f"{path}.{next(iter(value))}"]
    assert (finding.level, finding.message, finding.expected) == ("error", "a value of another type", expected)
    valid["log_processor"] = {"window_size": 5}
    valid["visualizer"] = {"vis_backends": [{"type": "LocalVisBackend"}]}
    assert findings(valid) == {}


def test_a_schedule_may_stand_for_any_number(findings, valid):
    """Schedules are usable wherever a scalar stands, so the checker must not insist on a number."""
    valid["model"]["objectives"]["logits"]["loss"]["temperature"] = {"type": "kdhub.ConstantSchedule", "value": 2.0}
    valid["model"]["task_weight"] = {"type": "kdhub.CosineSchedule", "start": 1.0, "end": 0.0, "steps": 5}
    assert findings(valid) == {}


def test_an_import_path_past_a_plugins_components_is_a_warning(findings, valid):
    """It works, but the plugin says nothing of it: its status and loss inputs cannot be checked."""
    valid["model"]["objectives"]["triplet"]["loss"]["type"] = "kdcheck.again.Triplet"
    finding = findings(valid)["model.objectives.triplet.loss.type"]
    assert finding.level == "warning"
    assert finding.fix == "write 'kdcheck.Triplet'"


def test_iterations_instead_of_epochs_are_the_other_loop(findings, valid):
    """The same keys mean another class when by_epoch is False."""
    valid["train_cfg"] = {"by_epoch": False, "max_epochs": 1}
    found = findings(valid)
    assert set(found) == {"train_cfg.max_epochs", "train_cfg"}
    assert "'max_iters'" in found["train_cfg"].message


def test_several_mistakes_are_told_at_once(findings, valid):
    """One finding a run would cost a start for each."""
    put(valid, "model.student.widht", 1)
    put(valid, "train_dataloader.batchsize", 1)
    put(valid, "model.objectives.logits.loss.type", "kdhub.KL")
    assert set(findings(valid)) == {
        "model.student.widht",
        "train_dataloader.batchsize",
        "model.objectives.logits.loss.type",
    }


def test_a_slip_that_kwargs_would_swallow_is_a_warning(findings, valid):
    """A class that takes any keyword accepts every typing error, and trains without what was meant."""
    valid["default_hooks"]["checkpoint"] = {"intervall": 1, "create_symlink": False}
    found = findings(valid)
    assert list(found) == ["default_hooks.checkpoint.intervall"]
    assert (found["default_hooks.checkpoint.intervall"].level) == "warning"


def test_keys_of_libraries_that_pop_their_own_are_left_alone(findings, valid):
    """A norm_cfg is mmcv's own: it takes `requires_grad` out before it builds the layer."""
    valid["model"]["student"]["init_cfg"] = {"norm_cfg": {"type": "BN", "requires_grad": True}}
    assert findings(valid) == {}


@pytest.mark.parametrize(
    ("path", "value", "right"),
    [
        ("model.objectives.logits.loss.temperature", "four", 4),
        ("model.objectives.logits.loss.temperature", True, 4.0),
        ("model.objectives.logits.loss.reduction", 1, "batchmean"),
        ("model.objectives.logits.loss.student_temperature", "2", None),
    ],
)
def test_a_value_of_another_type_is_found(findings, valid, path, value, right):
    """`--cfg-options temperature=four` is a string to mmengine, and fails only once the model is built."""
    put(valid, path, value)
    found = findings(valid)
    assert list(found) == [path]
    assert found[path].got == repr(value)
    put(valid, path, right)
    assert findings(valid) == {}


@pytest.mark.parametrize(
    ("path", "wrong", "right"),
    [
        ("train_dataloader.batch_size", "many", 4),
        ("optim_wrapper.optimizer.lr", "1e-3x", 1),
        ("param_scheduler.0.end", "5x", 5),
    ],
)
def test_a_text_for_a_number_of_somebody_elses_class_is_found(findings, valid, path, wrong, right):
    """`--cfg-options train_dataloader.batch_size=abc` passed the check and ended in a traceback out of torch."""
    put(valid, path, wrong)
    found = findings(valid)
    assert list(found) == [path]
    assert (found[path].level, found[path].got) == ("error", repr(wrong))
    put(valid, path, right)
    assert findings(valid) == {}


@pytest.mark.parametrize("path", ["optim_wrapper.optimizer.lr", "model.objectives.logits.adapter.0.align_corners"])
def test_a_schedule_where_nobody_drives_it_is_found(findings, valid, path):
    """A learning rate that is a dict reaches the optimizer as it is, and fails there far from its cause."""
    put(valid, path, {"type": "kdhub.LinearSchedule", "start": 1.0, "end": 0.0, "steps": 10})
    assert findings(valid)[path].message == "no schedule is driven here"


def by_role(valid):
    """Give a config two optimizers, and schedulers for one of them."""
    wrapper, schedulers = valid["optim_wrapper"], valid["param_scheduler"]
    valid["optim_wrapper"] = {
        "constructor": "ByRole",
        "student": wrapper,
        "critic": {"optimizer": dict(wrapper["optimizer"])},
    }
    valid["param_scheduler"] = {"student": schedulers, "critic": []}
    return valid


def test_several_optimizers_by_name_are_right(findings, valid):
    """Names of roles are the model's: taken for unknown keys, no model with two optimizers would pass the check."""
    assert findings(by_role(valid)) == {}


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("optim_wrapper.student.acumulative_counts", "accumulative_counts"),
        ("optim_wrapper.critic.optimizer.weight_deacy", "weight_decay"),
        ("param_scheduler.student.0.start_facto", "start_factor"),
    ],
)
def test_a_slip_in_one_of_several_optimizers_is_found(findings, valid, path, near):
    """A misspelt key of the second optimizer is as silent as one of the first."""
    valid = by_role(copy.deepcopy(valid))
    put(valid, path, 1)
    found = findings(valid)
    assert list(found) == [path]
    assert near in found[path].near


def test_one_of_several_without_an_optimizer_is_found(findings, valid):
    """Mmengine would build nothing for it, with an error from its inside."""
    valid = by_role(valid)
    valid["optim_wrapper"]["critic"] = {"clip_grad": {"max_norm": 1.0}}
    assert "optim_wrapper.critic" in findings(valid)


def test_an_optimizer_that_is_left_out_is_still_missed(findings, valid):
    """A constructor alone holds no optimizers by name: nothing is left to look at, and nothing would be said."""
    valid["optim_wrapper"] = {"constructor": "DefaultOptimWrapperConstructor"}
    assert "'optimizer'" in findings(valid)["optim_wrapper"].message
