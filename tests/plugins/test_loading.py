"""From metadata to rows: whatever a plugin does, the others load and it gets a status with a reason."""

import sys

import pytest

from kdhub.errors import PluginError
from kdhub.records import API_LEVEL

LOSS = """
    @hookimpl
    def kdhub_losses():
        yield LossSpec(name="Toy", target="{name}.losses:Toy", summary="A loss")
"""


def test_a_good_plugin_is_ok_and_its_components_are_there(install_plugin, load_fakes):
    """The plain case: what the manifest says is what the manager answers, and no target is imported for it."""
    install_plugin("kdgood", LOSS.format(name="kdgood"), version="0.3")
    manager = load_fakes()
    row = manager.plugins[1]
    assert (row.source.plugin, row.source.dist, row.source.version) == ("kdgood", "kdgood-dist", "0.3")
    assert (row.status, row.reason, row.traceback) == ("ok", "", "")
    assert row.info.tasks == ("toy",)
    assert row.hooks == ("kdhub_plugin_info", "kdhub_losses")
    assert row.path.endswith("plugin.py")
    assert [entry.type for entry in manager.components("loss", "kdgood")] == ["kdgood.Toy"]
    assert "kdgood.losses" not in sys.modules


def test_the_built_in_plugin_comes_first(install_plugin, load_fakes):
    """Its components come through the same hooks as everybody's, so it is a row like any other."""
    install_plugin("kdgood")
    assert [row.scope for row in load_fakes().plugins] == ["kdhub", "kdgood"]
    assert [row.status for row in load_fakes(no_plugins=True).plugins] == ["ok", "disabled"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import a_module_that_is_missing", "ModuleNotFoundError: No module named 'a_module_that_is_missing'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("def kdhub_losses(:", "SyntaxError"),
    ],
)
def test_a_plugin_broken_at_import_is_a_row(install_plugin, load_fakes, body, reason):
    """One plugin that cannot be imported, or exits, must not take the program or the other plugins with it."""
    install_plugin("kdbad", body)
    install_plugin("kdgood")
    rows = {row.scope: row for row in load_fakes().plugins}
    assert rows["kdgood"].status == "ok"
    assert rows["kdbad"].status == "broken"
    assert reason in rows["kdbad"].reason
    assert "Traceback" in rows["kdbad"].traceback


def test_ctrl_c_during_an_import_stops_the_program(install_plugin, load_fakes):
    """Isolation that swallows KeyboardInterrupt makes a hanging plugin impossible to stop."""
    install_plugin("kdslow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_fakes()


@pytest.mark.parametrize(
    "switches", [{"blocked": {"kdslow"}}, {"no_plugins": True}, {"only": frozenset()}, {"only": {"kdother"}}]
)
def test_a_plugin_that_is_switched_off_is_never_imported(install_plugin, row_of, switches):
    """Blocking is the way out when importing a plugin hangs or crashes: it must come before the import."""
    install_plugin("kdslow", "import time; time.sleep(3600)")
    row = row_of("kdslow", **switches)
    assert row.status == "disabled"
    assert row.reason
    assert "kdslow" not in sys.modules


def test_two_distributions_with_one_name_are_both_refused(install_plugin, load_fakes):
    """If path order picked the winner, the same config would mean different things on two machines."""
    install_plugin("kdtwin", dist="first")
    install_plugin("kdtwin", dist="second", version="2.0")
    rows = load_fakes().plugins[1:]
    assert [(row.source.dist, row.status) for row in rows] == [("first", "conflict"), ("second", "conflict")]
    assert all("first 1.0" in row.reason and "second 2.0" in row.reason for row in rows)
    assert "kdtwin" not in sys.modules


@pytest.mark.parametrize("thief", ["a-thief", "z-thief"])
def test_of_two_distributions_with_one_name_the_owner_of_the_package_stays(install_plugin, load_fakes, thief):
    """A distribution that takes a name by mistake must not switch off the plugin whose package bears it."""
    body = LOSS.format(name="kdowner")
    install_plugin("kdowner", body, dist="m-owner", files={"losses.py": "class Toy: pass"})
    install_plugin("kdtaker", dist=thief, entry_points={"kdowner": "kdtaker.plugin"})
    manager = load_fakes()
    rows = {row.source.dist: row for row in manager.plugins}
    assert (rows["m-owner"].status, rows[thief].status) == ("ok", "conflict")
    assert rows[thief].reason == "the name 'kdowner' belongs to m-owner, whose package bears it"
    assert rows[thief].fix.startswith('write kdtaker = "kdtaker.plugin"')
    assert manager.find("kdowner.Toy").load().__module__ == "kdowner.losses"
    assert "kdtaker" not in sys.modules


def test_a_second_install_of_one_distribution_is_no_conflict(install_plugin, load_fakes):
    """An editable install beside a copy in site-packages is one plugin; Python imports the first on the path."""
    install_plugin("kdtwice", version="1.0")
    install_plugin("kdtwice", version="2.0")
    rows = load_fakes().plugins[1:]
    assert [(row.source.version, row.status) for row in rows] == [("2.0", "ok")]


@pytest.mark.parametrize(
    ("requires", "status"),
    [
        ("kdhub>=0.0.1", "ok"),
        ("kdhub", "ok"),
        ("KDHub<0.0.1", "incompatible"),
        ("kdhub>=99", "incompatible"),
        ("kdhub>=99; extra == 'new'", "ok"),
        ("kdhub>=99; python_version < '3'", "ok"),
        ("numpy>=99", "ok"),
    ],
)
def test_the_plugin_s_requirement_on_kdhub_is_read_again(install_plugin, row_of, requires, status):
    """The installer checks it when the plugin is installed, and not when kdhub is changed later."""
    install_plugin("kdreq", requires=[requires])
    row = row_of("kdreq")
    assert row.status == status
    assert bool(row.reason) is (status != "ok")
    assert ("kdreq" in sys.modules) is (status == "ok")


@pytest.mark.parametrize(
    ("level", "advice"), [(API_LEVEL + 1, "install a newer kdhub"), (0, "install a newer kdlevel-dist")]
)
def test_another_api_level_is_incompatible(install_plugin, row_of, level, advice):
    """Hooks of another level may have other meanings; of plugin and kdhub exactly the older one is to be replaced."""
    info = "from kdhub import PluginInfo, hookimpl\n@hookimpl\ndef kdhub_plugin_info():\n"
    install_plugin("kdlevel", info=f"{info}    return PluginInfo(summary='x', api_level={level})\n")
    row = row_of("kdlevel")
    assert row.status == "incompatible"
    assert f"API level {level}" in row.reason
    assert "upgrade" not in row.reason
    assert row.fix == advice


@pytest.mark.parametrize(
    ("requires", "advice"), [("kdhub>=99", "kdhub"), ("kdhub==99.*", "kdhub"), ("kdhub<0.0.1", "kdreq-dist")]
)
def test_an_unmet_requirement_on_kdhub_says_which_of_the_two_is_old(install_plugin, row_of, requires, advice):
    """To upgrade the plugin cannot help where it is kdhub that is too old."""
    install_plugin("kdreq", requires=[requires])
    assert row_of("kdreq").fix == f"install a newer {advice}"


@pytest.mark.parametrize("name", ["kdhub", "mmseg", "torch"])
def test_a_reserved_scope_is_refused_without_import(install_plugin, load_fakes, name):
    """A plugin named mmseg would answer for mmsegmentation in every config."""
    install_plugin("kdthief", entry_points={name: "kdthief.plugin"})
    row = load_fakes().plugins[-1]
    assert (row.scope, row.status) == (name, "broken")
    assert "reserved" in row.reason
    assert "kdthief" not in sys.modules


def test_a_thief_of_the_core_s_scope_takes_nothing(install_plugin, load_fakes):
    """Two rows of one scope: the core's components must stay found."""
    install_plugin(
        "kdthief", entry_points={"kdhub": "kdthief.plugin", "mmseg": "kdthief.plugin", "mm-seg": "mmseg.plugin"}
    )
    manager = load_fakes()
    assert manager.find("kdhub.MSE").source.dist == "kdhub"
    assert not manager.owns("mmseg.PSPHead")


@pytest.mark.parametrize(
    ("entry_points", "reason"),
    [
        ({"kd-dash": "kdodd.plugin"}, "config scope"),
        ({"KDOdd": "kdodd.plugin"}, "config scope"),
        ({"mmseg": "kdodd.plugin"}, "reserved"),
        ({"kdodd": "kdodd.plugin:thing"}, "must name a module"),
    ],
)
def test_an_entry_point_that_cannot_work_is_refused(install_plugin, load_fakes, entry_points, reason):
    """A name with a dash can never be written as scope.Name, and an object is no manifest; doctor spells what works."""
    install_plugin("kdodd", entry_points=entry_points)
    manager = load_fakes()
    row = manager.plugins[-1]
    assert row.status == "broken"
    assert reason in row.reason
    fixes = [one.fix for one in manager.doctor() if reason in one.detail]
    assert fixes == ['write kdodd = "kdodd.plugin" under [project.entry-points."kdhub.plugins"]']


@pytest.mark.parametrize(
    "group", ["kdhub.plugin", "kdhub_plugins", "kdhub", "KDHub.Plugins", "kdhub:plugins", "kdhbu.plugins"]
)
def test_a_misspelt_group_is_told_by_doctor(install_plugin, load_fakes, group):
    """To kdhub such a plugin is not there at all, so no row can say why."""
    info = install_plugin("kdlost")
    (info / "entry_points.txt").write_text(f"[{group}]\nkdlost = kdlost.plugin\n", encoding="utf-8")
    manager = load_fakes()
    assert [row.scope for row in manager.plugins] == ["kdhub"]
    (told,) = [one for one in manager.doctor() if "kdlost-dist" in one.detail]
    assert repr(group) in told.detail
    assert told.fix == 'write kdlost = "kdlost.plugin" under [project.entry-points."kdhub.plugins"]'


@pytest.mark.parametrize(
    ("group", "requires"), [("mypy.plugins", "kdhub"), ("hub.plugins", "numpy"), ("console_scripts", "kdhub")]
)
def test_a_group_of_another_program_is_left_alone(install_plugin, load_fakes, group, requires):
    """A doctor that takes other programs' plugins for misspelt ones is not listened to."""
    info = install_plugin("kdlost", requires=[requires])
    (info / "entry_points.txt").write_text(f"[{group}]\nkdlost = kdlost.plugin\n", encoding="utf-8")
    assert not [one for one in load_fakes().doctor() if "kdlost-dist" in one.detail]


@pytest.mark.parametrize(
    ("file", "content"), [("METADATA", b"Metadata-Version: 2.1\n"), ("entry_points.txt", b"[kdhub.plugins]\n\xff\xfe")]
)
def test_unreadable_metadata_is_skipped_and_doctor_says_so(install_plugin, load_fakes, file, content):
    """One damaged folder in site-packages must not hide every plugin, nor stay unknown."""
    install_plugin("kdgood")
    info = install_plugin("kdtorn")
    (info / file).write_bytes(content)
    manager = load_fakes()
    assert [row.scope for row in manager.plugins] == ["kdhub", "kdgood"]
    problems = [one for one in manager.doctor() if info.name in one.detail]
    assert [one.level for one in problems] == ["warn"]


def test_errors_can_be_raised_instead(install_plugin, load_fakes):
    """In a plugin's own CI a row that nobody reads would be a green build of a broken plugin."""
    install_plugin("kdbad", "import a_module_that_is_missing")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        load_fakes(raise_errors=True)


def test_refusals_can_be_raised_instead(install_plugin, load_fakes):
    """A refusal without import counts too: the plugin is as absent as if it were broken."""
    install_plugin("kdreq", requires=["kdhub>=99"])
    with pytest.raises(PluginError, match=r"kdreq-dist 1\.0.*requires kdhub>=99"):
        load_fakes(raise_errors=True)
    assert load_fakes(raise_errors=True, blocked={"kdreq"}).plugins[-1].status == "disabled"


def test_a_broken_plugin_leaves_no_hook_behind(install_plugin, load_fakes):
    """A plugin that failed after registration would still be asked at run time."""
    install_plugin(
        "kdbad",
        """
        @hookimpl
        def kdhub_losses():
            raise ValueError("late")

        @hookimpl
        def kdhub_propose_adapter(student_shape, teacher_shape):
            return [{"type": "kdbad.X"}]
        """,
    )
    manager = load_fakes()
    assert manager.plugins[-1].reason == "kdhub_losses raised ValueError: late"
    assert "kdbad" not in dict(manager._hooks.list_name_plugin())
    assert manager.propose_adapter((2, 4), (2, 8)) != [{"type": "kdbad.X"}]


@pytest.mark.parametrize(
    ("hook", "record"),
    [
        ("kdhub_losses", "LossSpec(name='A', taget='kdbad.a:A', summary='x')"),
        ("kdhub_recipes", "Recipe(name='a', file='a.py')"),
        ("kdhub_add_commands", "Command(name='a', summary='x')"),
    ],
)
def test_an_unknown_field_of_a_record_names_the_hook(install_plugin, row_of, hook, record):
    """A reason without the hook's name makes an author search through all of them; a generator raises late."""
    for statement in (f"return [{record}]", f"yield {record}"):
        install_plugin("kdbad", f"@hookimpl\ndef {hook}():\n    {statement}\n", version=f"1.{len(statement)}")
        assert row_of("kdbad").reason.startswith(f"{hook} raised TypeError: ")
