"""Every hook is asked when, and fails as, its specification says; a ``test_hook_<name>`` for each."""

import logging
from pathlib import Path

import pytest

from kdhub.errors import PluginError, UsageError
from kdhub.plugins import calls

RECORD = "{record}(kind={kind!r}, name='A', target='kdtoy.a:A', summary='x')"
FORMS = ("return [{record}]", "yield {record}", "return iter(({record},))")


class Report:
    """Stands in for `kdhub.findings.Report`, whose floor is above this one."""

    def __init__(self):
        self.lines = []

    def error(self, path, message, *, plugin=""):
        """Keep a finding."""
        self.lines.append((plugin, path, message))


@pytest.fixture
def collected(install_plugin, load_fakes):
    """Records of one hook that returns one component, in any form of iterable."""

    def collect(hook, form, kind, record="Component"):
        body = form.format(record=RECORD.format(record=record, kind=kind))
        install_plugin("kdtoy", f"@hookimpl\ndef {hook}():\n    {body}\n")
        return [(entry.type, entry.component.kind) for entry in load_fakes().components(scope="kdtoy")]

    return collect


@pytest.fixture
def load_two(install_plugin, load_fakes):
    """A manager with ``kdone`` and ``kdtwo``, of the given bodies."""

    def load(one, two, **switches):
        install_plugin("kdone", one, version="0.1")
        install_plugin("kdtwo", two, version="0.2")
        return load_fakes(**switches)

    return load


def test_hook_plugin_info(install_plugin, row_of):
    """What `plugins list` prints comes from here."""
    install_plugin("kdtoy")
    info = row_of("kdtoy").info
    assert (info.summary, info.tasks) == ("A plugin of a test", ("toy",))
    assert info.extras["fast"] == ("quick_library",)


def test_a_component_is_called_as_its_target(install_plugin, load_fakes):
    """A name said twice is a name that differs one day, and then no class is found under the one that users read."""
    record = "Component(kind='tap', target='kdtoy.parts:Toy', summary='x')"
    install_plugin(
        "kdtoy", f"@hookimpl\ndef kdhub_teacher_hooks():\n    return [{record}, {record[:-1]}, name='Other')]\n"
    )
    assert [entry.type for entry in load_fakes().components(scope="kdtoy")] == ["kdtoy.Toy", "kdtoy.Other"]


@pytest.mark.parametrize("kind", ["tap", "teacher"])
@pytest.mark.parametrize("form", FORMS)
def test_hook_teacher_hooks(collected, form, kind):
    """A generator must run inside its plugin's isolation, and give what a list gives."""
    assert collected("kdhub_teacher_hooks", form, kind) == [("kdtoy.A", kind)]


@pytest.mark.parametrize("form", FORMS)
def test_hook_adapters(collected, form):
    """Adapters reach the manager from any iterable."""
    assert collected("kdhub_adapters", form, "adapter") == [("kdtoy.A", "adapter")]


@pytest.mark.parametrize("form", FORMS)
def test_hook_losses(collected, form):
    """Losses reach the manager from any iterable."""
    assert collected("kdhub_losses", form, "loss", record="LossSpec") == [("kdtoy.A", "loss")]


@pytest.mark.parametrize("kind", ["distiller", "model", "schedule", "optim_wrapper", "metric", "dataset"])
def test_hook_components(collected, kind):
    """Every kind without a hook of its own goes through this one."""
    assert collected("kdhub_components", FORMS[0], kind) == [("kdtoy.A", kind)]


def test_hook_recipes(install_plugin, load_fakes):
    """A recipe is found by scope and name; a missing file is the author's to mend, a wrong name the user's."""
    install_plugin(
        "kdtoy",
        """
        @hookimpl
        def kdhub_recipes():
            for name in ("small", "lost"):
                yield Recipe(name, f"configs/{name}.py", "x", task="toy", teacher="t", student="s", budget="cpu-minutes")
        """,
        files={"configs/small.py": "model = dict()\n"},
    )
    manager = load_fakes()
    assert [(source.plugin, recipe.name) for source, recipe in manager.recipes()] == [
        ("kdtoy", "small"),
        ("kdtoy", "lost"),
    ]
    assert manager.recipe("kdtoy:small").read_text(encoding="utf-8") == "model = dict()\n"
    with pytest.raises(UsageError, match=r"plugin 'kdtoy' has no recipe 'smal'.*did you mean 'kdtoy:small'"):
        manager.recipe("kdtoy:smal")
    with pytest.raises(UsageError, match="no installed plugin has the scope 'kdtyo'"):
        manager.recipe("kdtyo:small")
    with pytest.raises(PluginError, match=r"kdtoy-dist 1\.0.*recipe 'lost': no file"):
        manager.recipe("kdtoy:lost")


def test_hook_add_commands(install_plugin, load_fakes):
    """A command is listed without its module being imported."""
    body = "@hookimpl\ndef kdhub_add_commands():\n    return [Command('search', 'Searches', 'kdtoy.missing:main')]"
    install_plugin("kdtoy", body)
    assert [(source.plugin, command.name) for source, command in load_fakes().commands()] == [("kdtoy", "search")]


CHECK_BAD = "@hookimpl\ndef kdhub_check_config(cfg, report):\n    report.error('a', 'first')\n    cfg['missing']"
CHECK_GOOD = "@hookimpl\ndef kdhub_check_config(report):\n    report.error('b', 'second')"


@pytest.mark.parametrize(("one", "two"), [(CHECK_BAD, CHECK_GOOD), (CHECK_GOOD, CHECK_BAD)])
def test_hook_check_config(load_two, one, two):
    """A rule that raises must become a finding and leave the findings of the others, whatever the order."""
    report = Report()
    load_two(one, two).check_config({}, report)
    failures = [(plugin, message) for plugin, path, message in report.lines if path == ""]
    assert {(path, message) for _, path, message in report.lines if path} == {("a", "first"), ("b", "second")}
    ((plugin, message),) = failures
    assert plugin == ("kdone" if one is CHECK_BAD else "kdtwo")
    assert (
        message
        == f"plugin {plugin!r} ({plugin}-dist {'0.1' if plugin == 'kdone' else '0.2'}): kdhub_check_config raised KeyError: 'missing'"
    )


def test_hook_doctor(load_two):
    """A check that raises halfway, or returns something else, is a failed diagnostic and not the end of `doctor`."""
    diagnostic = "Diagnostic('ok', '{name}', 'fine')"
    manager = load_two(
        f"@hookimpl\ndef kdhub_doctor():\n    yield {diagnostic.format(name='one')}\n    1 / 0",
        f"@hookimpl\ndef kdhub_doctor():\n    return [{diagnostic.format(name='two')}]",
    )
    found = {one.title: one for one in manager.doctor()}
    assert found["two"].level == "ok"
    assert "one" not in found
    assert found["plugin 'kdone' (kdone-dist 0.1)"].detail == "kdhub_doctor raised ZeroDivisionError: division by zero"
    assert found["plugin 'kdone' (kdone-dist 0.1)"].level == "fail"


def test_doctor_refuses_what_is_no_diagnostic(install_plugin, load_fakes):
    """A string printed as a diagnostic would fail in the table, far from the plugin."""
    install_plugin("kdtoy", "@hookimpl\ndef kdhub_doctor():\n    return ['fine']")
    (failed,) = (one for one in load_fakes().doctor() if "kdtoy" in one.title)
    assert failed.detail == "kdhub_doctor raised TypeError: it must return Diagnostics, got 'fine'"


def test_doctor_shows_plugins_that_did_not_load(install_plugin, load_fakes):
    """The row of a broken plugin is easily missed; doctor is where one looks for what is wrong."""
    install_plugin("kdsad", "import missing_module")
    install_plugin("kdoff")
    (failed,) = (one for one in load_fakes(blocked={"kdoff"}).doctor() if "-dist" in one.title)
    assert (failed.level, failed.fix) == ("fail", "see `kdhub plugins info kdsad`")
    assert failed.detail.startswith("broken: importing its manifest raised ModuleNotFoundError")


def test_doctor_names_both_sides_of_a_conflict(install_plugin, load_fakes):
    """One of the two must be uninstalled, so both must be named; a thief of a scope is named too."""
    install_plugin("kdtwin", dist="first")
    install_plugin("kdtwin", dist="second")
    install_plugin("kdthief", entry_points={"mmseg": "kdthief.plugin"})
    titles = [one.title for one in load_fakes().doctor() if one.level == "fail" and "1.0)" in one.title]
    assert titles == [
        "plugin 'kdtwin' (first 1.0)",
        "plugin 'kdtwin' (second 1.0)",
        "plugin 'mmseg' (kdthief-dist 1.0)",
    ]


PROPOSE = "@hookimpl\ndef kdhub_propose_adapter(student_shape):\n    return [{{'type': '{name}.X'}}] if student_shape == ({size},) else None"


def test_hook_propose_adapter(load_two):
    """A plugin is asked before the core, and None hands the question on."""
    manager = load_two(PROPOSE.format(name="kdone", size=1), PROPOSE.format(name="kdtwo", size=2))
    assert manager.propose_adapter((1,), (9,)) == [{"type": "kdone.X"}]
    assert manager.propose_adapter((2,), (9,)) == [{"type": "kdtwo.X"}]


EXPORT = """
    @hookimpl(tryfirst=True)
    def kdhub_export_student(student, path, metainfo):
        {action}
"""


def test_hook_export_student(install_plugin, load_fakes, tmp_path):
    """The plugin whose model it is writes it, and its line of Python is what the run card says."""
    install_plugin("kdtoy", EXPORT.format(action="(path / 'x').write_text(student + str(metainfo)); return 'load(x)'"))
    assert load_fakes().export_student("weights", tmp_path, {}, {"classes": 2}) == "load(x)"
    assert (tmp_path / "x").read_text() == "weights{'classes': 2}"


WRAPPER = """
    @hookimpl(wrapper=True)
    def kdhub_export_student():
        return (yield)
"""


@pytest.mark.parametrize(
    ("one", "two"), [(EXPORT.format(action="1 / 0"), WRAPPER), (WRAPPER, EXPORT.format(action="1 / 0"))]
)
def test_a_failure_at_run_time_names_the_plugin(load_two, one, two):
    """An exception out of an export says nothing of whose it is; a wrapper of another plugin must not get the blame."""
    manager = load_two(one, two)
    with pytest.raises(ZeroDivisionError) as caught:
        manager.export_student("weights", Path(), {}, {})
    guilty = "'kdone' (kdone-dist 0.1)" if one is not WRAPPER else "'kdtwo' (kdtwo-dist 0.2)"
    assert caught.value.__notes__ == [f"raised in hook kdhub_export_student of plugin {guilty}"]


def test_without_notes_the_plugin_is_logged(monkeypatch, caplog):
    """Python 3.10 has no add_note: the plugin's name must not be lost there."""

    class OldError(Exception):
        add_note = property()  # as in Python 3.10, there is none

    error = OldError("torn")
    assert not hasattr(error, "add_note")
    with caplog.at_level(logging.ERROR):
        calls._add_note(error, "raised in hook x of plugin 'kdtoy'")
    assert error.__notes__ == ["raised in hook x of plugin 'kdtoy'"]
    assert "OldError: raised in hook x of plugin 'kdtoy'" in caplog.text


def test_hook_run_summary(load_two, caplog):
    """A run that took a day must not end on its summary; what failed is in the debug log."""
    manager = load_two(
        "@hookimpl\ndef kdhub_run_summary(run):\n    return {'steps': run['step']}",
        "@hookimpl\ndef kdhub_run_summary(run):\n    return {'other': run['missing']}",
    )
    with caplog.at_level(logging.DEBUG):
        assert manager.run_summary({"step": 3}) == {"kdone": {"steps": 3}}
    assert "plugin 'kdtwo' (kdtwo-dist 0.2): kdhub_run_summary failed" in caplog.text


@pytest.mark.parametrize("call", ["check_config", "doctor", "run_summary"])
def test_isolated_hooks_raise_on_request(install_plugin, load_fakes, call):
    """In a plugin's own CI a swallowed exception is a test that cannot fail."""
    install_plugin("kdtoy", f"@hookimpl\ndef kdhub_{call}():\n    1 / 0")
    manager = load_fakes(raise_errors=True)
    arguments = {"check_config": ({}, Report()), "doctor": (), "run_summary": ({},)}[call]
    with pytest.raises(ZeroDivisionError):
        getattr(manager, call)(*arguments)


def test_trace_prints_every_call(install_plugin, load_fakes, capsys):
    """KDHUB_TRACE_PLUGINS answers "was my hook called at all?", also for hooks called plugin by plugin."""
    install_plugin("kdtoy", "@hookimpl\ndef kdhub_run_summary(run):\n    1 / 0")
    load_fakes(trace=True).run_summary({})
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("kdhub: kdhub_plugin_info -> kdtoy (") for line in lines)
    assert any(line.startswith("kdhub: kdhub_run_summary -> kdtoy raised ZeroDivisionError (") for line in lines)
    assert not any("nobody" in line for line in lines)
