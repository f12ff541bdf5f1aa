"""Rules between fields: the top level, teachers, objectives, requirements and the rules of plugins."""

import pytest


def test_an_override_of_nothing_reads_as_such(findings, valid):
    """A `_delete_` without a base stays in the dict and would reach the constructor."""
    valid["model"]["student"]["_delete_"] = True
    assert "remove it" in findings(valid)["model.student._delete_"].fix


@pytest.mark.parametrize(
    "key", ["modle", "train_dataloder", "optim_wraper", "custom_hook", "load_form", "val_evalutor", "parm_scheduler"]
)
def test_a_misspelt_top_level_key_is_an_error(findings, valid, key):
    """The runner ignores what it does not know: the run would go without it."""
    valid[key] = {"type": "kdcheck.Student"}
    finding = findings(valid)[key]
    assert finding.level == "error"
    assert finding.near


def test_helper_variables_are_silent(findings, valid):
    """Configs are Python: most of them have top-level variables that only the config itself uses."""
    valid["batch_size"] = 4
    valid["train_pipeline"] = [{"type": "kdcheck.Points", "data_root": "."}]
    valid["my_student"] = {"type": "kdcheck.Student", "width": 4}
    assert findings(valid) == {}


def test_a_helper_with_a_name_like_a_key_is_silent(findings, valid):
    """The helper conv_cfg of mmdet is two letters from env_cfg, and in use; found in twelve of its own configs."""
    valid["conv_cfg"] = {"type": "ConvWS"}
    valid["model"]["student"]["init_cfg"] = {"conv_cfg": {"type": "ConvWS"}}
    assert findings(valid) == {}
    valid["train_dataloder"] = {"batch_size": 3, "dataset": dict(valid["train_dataloader"]["dataset"])}
    assert list(findings(valid)) == ["train_dataloder"]


def test_a_component_that_nobody_reads_is_an_error(findings, valid):
    """A distiller beside the model trains nothing."""
    valid["distiller"] = {"type": "kdhub.Distiller"}
    assert findings(valid)["distiller"].level == "error"


def test_a_helper_that_no_longer_has_an_effect_is_a_warning(findings, valid):
    """Overriding norm_cfg of a base config changes a variable, not the model that was built from it."""
    valid["norm_cfg"] = {"type": "BN", "requires_grad": True}
    assert findings(valid)["norm_cfg"].level == "warning"


def test_a_config_without_model_is_an_error(findings, valid):
    """The runner raises a bare KeyError."""
    del valid["model"]
    assert "no model" in findings(valid)["model"].message


@pytest.mark.parametrize("key", ["train_cfg", "optim_wrapper", "val_evaluator", "val_dataloader"])
def test_parts_that_work_only_together_are_told(findings, valid, key):
    """The runner wants all three or none, and says so without saying which is missing."""
    valid[key] = None
    assert "all three or none" in findings(valid)[key].message


def test_a_plugin_as_default_scope_is_an_error(findings, valid):
    """The runner would look for its own hooks in the plugin."""
    valid["default_scope"] = "kdcheck"
    assert "'kdcheck.Name'" in findings(valid)["default_scope"].fix


def test_plugins_add_findings(findings, valid):
    """Rules that no signature expresses belong to the plugin that knows them."""
    valid["experiment_name"] = "forbidden"
    assert findings(valid)["experiment_name"].message == "the plugin does not like it"


def test_a_rule_that_raises_is_a_finding_against_its_plugin(install_fake, valid):
    """A bug in one plugin's rule must not hide the findings of all others."""
    from kdhub.config import check_config
    from kdhub.plugins import Switches
    from kdhub.testing import isolated_plugins

    manifest = """
        from kdhub import PluginInfo, hookimpl

        @hookimpl
        def kdhub_plugin_info():
            return PluginInfo(summary="A rule with a bug", api_level=1)

        @hookimpl
        def kdhub_check_config(cfg, report):
            raise RuntimeError("a bug")
    """
    files = {"kdbug/__init__.py": "", "kdbug/plugin.py": manifest}
    install_fake("kdhub-bug", files=files, entry_points={"kdbug": "kdbug.plugin"})
    import kdbug.plugin

    del valid["model"]
    with isolated_plugins(kdbug.plugin, switches=Switches()) as manager:
        found = check_config(valid, manager).errors
    assert any("kdbug" in finding.message and "a bug" in finding.message for finding in found)
    assert any(finding.path == "model" for finding in found)


def test_an_objective_needs_a_loss_and_a_student(check, valid):
    """Without a student there is nothing to train."""
    valid["model"]["objectives"]["logits"] = {"teacher": "head"}
    lines = [f.line() for f in check(valid) if f.path == "model.objectives.logits"]
    assert any("no 'loss'" in line for line in lines)
    assert any("no 'student'" in line for line in lines)


def test_a_loss_input_that_nobody_provides(findings, valid):
    """The first batch would fail after the teacher was loaded and the data was read."""
    objective = valid["model"]["objectives"]["triplet"]
    del objective["batch"], objective["teacher"]
    finding = findings(valid)["model.objectives.triplet"]
    assert finding.message == "loss inputs 'labels' and 'teacher' are not connected to anything"
    assert finding.fix == "add batch=dict(labels='...'); add teacher=dict(teacher='...')"


def test_an_optional_loss_input_may_be_left_out_or_given(findings, valid):
    """Optional inputs are part of the contract of a loss, not mistakes."""
    valid["model"]["objectives"]["triplet"]["batch"]["mask"] = "mask"
    assert findings(valid) == {}


@pytest.mark.parametrize(
    ("key", "value", "path", "words"),
    [
        ("student", "body", "student", "2 inputs of this side"),
        ("student", {"student": "a", "student_negativ": "b"}, "student.student_negativ", "'student_negative'"),
        ("batch", {"labels": "labels", "lables": "labels"}, "batch.lables", "'labels'"),
        ("teacher", {"teachers": "body"}, "teacher.teachers", "did you mean 'teacher'"),
        ("adapter", {"student_negativ": {"type": "kdhub.Linear"}}, "adapter.student_negativ", "'student_negative'"),
        ("adapter", "kdhub.Linear", "adapter", "not a component"),
        ("adapter", {"type": "kdhub.SpatialResize"}, "adapter", "2 inputs of this side"),
        ("weight", "much", "weight", "not a number or a schedule"),
        ("weight", True, "weight", "not a number or a schedule"),
        ("student", 3, "student", "not a tap"),
        ("batch", "labels", "batch", "not a dict"),
    ],
)
def test_what_does_not_fit_the_loss_is_named(check, valid, key, value, path, words):
    """Each field of an objective is bound to an input of its loss by name."""
    valid["model"]["objectives"]["triplet"][key] = value
    lines = [f.line() for f in check(valid) if f.path == f"model.objectives.triplet.{path}"]
    assert any(words in line for line in lines), [f.line() for f in check(valid)]


def test_a_teacher_is_read_where_there_is_none(findings, valid):
    """The message must say that the model has no teacher, not that a tap is wrong."""
    del valid["model"]["teacher"]
    found = findings(valid)
    assert set(found) == {"model.objectives.logits.teacher", "model.objectives.triplet.teacher"}
    assert "the model has none" in found["model.objectives.logits.teacher"].message


@pytest.mark.parametrize(
    ("tap", "words"),
    [
        ("head", "the model has several teachers"),
        ("smal:head", "did you mean 'small'?"),
        ({"type": "kdhub.ModuleOutput", "path": "smal:head"}, "did you mean 'small'?"),
    ],
)
def test_one_of_several_teachers_must_be_named_rightly(findings, valid, tap, words):
    """With two teachers a path without a name would read whichever comes first."""
    model = valid["model"]
    model["teachers"] = {"small": model.pop("teacher"), "large": {"type": "kdhub.ModelTeacher", "model": "x.py"}}
    model["objectives"]["triplet"]["teacher"] = "large:body"
    model["objectives"]["logits"]["teacher"] = tap
    assert words in findings(valid)["model.objectives.logits.teacher"].line()


def test_several_teachers_named_rightly(findings, valid):
    """The counterpart of the test above: named taps are no findings."""
    model = valid["model"]
    model["teachers"] = {"small": model.pop("teacher"), "large": {"type": "kdhub.ModelTeacher", "model": "x.py"}}
    model["objectives"]["triplet"]["teacher"] = "large:body"
    model["objectives"]["logits"]["teacher"] = "small:head"
    assert findings(valid) == {}


def test_a_teacher_that_nobody_reads_is_a_warning(findings, valid):
    """It would be loaded for nothing, usually since an objective names another one."""
    model = valid["model"]
    model["teachers"] = {"small": model.pop("teacher"), "large": {"type": "kdhub.ModelTeacher", "model": "x.py"}}
    for objective in model["objectives"].values():
        objective["teacher"] = f"small:{objective['teacher']}"
    found = findings(valid)
    assert list(found) == ["model.teachers.large"]
    assert found["model.teachers.large"].level == "warning"


def test_teacher_and_teachers_exclude_each_other(findings, valid):
    """One of the two would be ignored."""
    valid["model"]["teachers"] = {"teacher": valid["model"]["teacher"]}
    assert "both" in findings(valid)["model.teacher"].message


@pytest.mark.parametrize("objectives", [{}, None])
def test_no_objective_is_a_warning(findings, valid, objectives):
    """It trains, and distils nothing."""
    valid["model"]["objectives"] = objectives
    assert findings(valid)["model.objectives"].level == "warning"


@pytest.mark.parametrize(
    ("path", "value"),
    [("objectives", 3), ("teachers", 3), ("objectives", {"a.b": {"loss": {"type": "kdhub.MSE"}, "student": "x"}})],
)
def test_malformed_parts_of_a_distiller_are_findings(check, valid, path, value):
    """A check that crashes on a malformed config is of no use where it is needed most."""
    valid["model"][path] = value
    assert any(f.path.startswith(f"model.{path}") and f.level == "error" for f in check(valid))


def test_a_loss_spec_that_does_not_agree_with_forward_is_found(install_fake, valid):
    """A plugin's manifest that forgets an input passed the check and ended in 69 lines, after the teacher was evaluated."""
    from kdhub.config import check_config
    from kdhub.testing import isolated_plugins

    manifest = """
        from kdhub import LossSpec, PluginInfo, hookimpl

        @hookimpl
        def kdhub_plugin_info():
            return PluginInfo(summary="Losses with wrong manifests", api_level=1)

        @hookimpl
        def kdhub_losses():
            for name, inputs in {"Right": ("student", "teacher"), "Lacks": ("student",), "Invents": ("student", "teacher", "mask")}.items():
                yield LossSpec(name=name, target=f"kdspec.parts:{name}", summary="A loss", inputs=inputs)
    """
    parts = """
        class Base:
            def forward(self, student, teacher, weight=None): ...

        class Right(Base): ...
        class Lacks(Base): ...
        class Invents(Base): ...
    """
    files = {"kdspec/__init__.py": "", "kdspec/plugin.py": manifest, "kdspec/parts.py": parts}
    install_fake("kdhub-spec", files=files, entry_points={"kdspec": "kdspec.plugin"})
    import kdspec.plugin

    valid["model"]["student"] = {"type": "mmengine.model.BaseModel"}
    valid["model"]["teacher"]["model"] = "x.py"
    with isolated_plugins(kdspec.plugin) as manager:
        for name, agrees in {"Right": True, "Lacks": False, "Invents": False}.items():
            objective = {"loss": {"type": f"kdspec.{name}"}, "student": "head", "teacher": "head"}
            valid["model"]["objectives"] = {"spec": objective}
            lines = [f.line() for f in check_config(valid, manager).errors if f.path == "model.objectives.spec.loss"]
            assert (lines == []) is agrees, name
            assert agrees or "the inputs student, teacher, weight" in lines[0]


def test_an_objective_that_is_none_is_left_out(findings, valid):
    """Ablations are typed as `model.objectives.NAME=None`, and were refused."""
    valid["model"]["objectives"]["triplet"] = None
    assert findings(valid) == {}
    valid["model"]["objectives"]["logits"] = None
    assert findings(valid)["model.objectives"].level == "warning"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.teacher", "list", "a list stands where one dict belongs"),
        ("val_dataloader", "list", "a list stands where one dict belongs"),  # two validation loaders
        ("optim_wrapper", "list", "a list stands where one dict belongs"),
        ("model.guards", "strict", "not a component"),
        ("randomness", "fixed", "not a component"),
        ("train_cfg", "20k", "not a component"),
        ("default_hooks", "none", "a value of another type"),
        ("work_dir", "list", "a value of another type"),
        ("resume", "yes", "a value of another type"),
    ],
)
def test_a_value_of_another_kind_is_found(findings, valid, path, value, words):
    """Each passed the check and ended in a traceback of mmengine's, far from the key."""
    owner = valid
    *way, last = path.split(".")
    for key in way:
        owner = owner[key]
    owner[last] = [owner.get(last), owner.get(last)] if value == "list" else value
    found = findings(valid)
    assert words in found[path].message
    assert found[path].level == "error"


def test_half_an_epoch_is_a_whole_number_of_iterations(findings, valid):
    """`convert_to_iter_based` turns a fractional `end` into iterations, which is what it is for."""
    valid["param_scheduler"] = [{"type": "LinearLR", "start_factor": 0.1, "end": 0.5, "convert_to_iter_based": True}]
    assert findings(valid) == {}
    valid["param_scheduler"][0].pop("convert_to_iter_based")
    assert list(findings(valid)) == ["param_scheduler.0.end"]


@pytest.mark.parametrize("as_path", [False, True])
def test_a_class_is_checked_like_its_name(findings, valid, as_path):
    """New-style configs hold classes or their import paths: the rules for losses, taps and kinds were off."""
    from kdcheck.parts import Student, Triplet

    from kdhub.distill.distiller import Distiller
    from kdhub.distill.losses.temperature_kl import TemperatureKL

    def spelt(target):
        return f"{target.__module__}.{target.__qualname__}" if as_path else target

    model = valid["model"]
    model["type"], model["student"]["type"] = spelt(Distiller), spelt(Student)
    model["objectives"]["triplet"]["loss"]["type"] = spelt(Triplet)
    assert findings(valid) == {}
    del model["objectives"]["triplet"]["batch"]
    assert "labels" in findings(valid)["model.objectives.triplet"].message
    model["objectives"]["triplet"]["batch"] = {"labels": "labels"}
    model["student"]["type"] = spelt(TemperatureKL)
    assert "is a loss; this place wants a model" in findings(valid)["model.student.type"].message
