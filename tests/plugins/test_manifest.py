"""A manifest that breaks the contract is refused with a reason its author can act on."""

import pytest

BROKEN = {
    "misspelt hook": (
        "@hookimpl\ndef kdhub_loses():\n    return []",
        "unknown hook 'kdhub_loses'; did you mean 'kdhub_losses'",
    ),
    "unknown hook": ("@hookimpl\ndef zzz():\n    return []", "unknown hook 'zzz'; the hooks are kdhub_plugin_info, "),
    "no decorator": ("def kdhub_losses():\n    return []", "kdhub_losses has the name of a hook but not the decorator"),
    "default": (
        "@hookimpl\ndef kdhub_check_config(cfg, report=None): pass",
        "hook kdhub_check_config: parameter 'report' must not have a default",
    ),
    "keyword-only": (
        "@hookimpl\ndef kdhub_run_summary(*, run): pass",
        "parameter 'run' must be plain, not keyword-only",
    ),
    "variadic": ("@hookimpl\ndef kdhub_run_summary(**all): pass", "parameter '**all' must be plain"),
    "unknown parameter": ("@hookimpl\ndef kdhub_run_summary(card): pass", "Argument(s) {'card'}"),
    "wrapper": (
        "@hookimpl(wrapper=True)\ndef kdhub_losses():\n    return (yield)",
        "kdhub_losses is called plugin by plugin",
    ),
    "forgotten return": ("@hookimpl\ndef kdhub_losses():\n    [LossSpec]", "kdhub_losses returned None"),
    "not iterable": ("@hookimpl\ndef kdhub_losses():\n    return 3", "must return an iterable of LossSpec, got 3"),
    "wrong record": (
        "@hookimpl\ndef kdhub_losses():\n    return [Component(kind='loss', name='A', target='{p}.a:A', summary='x')]",
        "kdhub_losses must return an iterable of LossSpec, got Component(kind='loss'",
    ),
    "wrong kind": (
        "@hookimpl\ndef kdhub_teacher_hooks():\n    return [Component(kind='metric', name='A', target='{p}.a:A', summary='x')]",
        "kdhub_teacher_hooks returned 'A' of kind 'metric'; return it from kdhub_components",
    ),
    "loss among the rest": (
        "@hookimpl\ndef kdhub_components():\n    return [LossSpec(name='A', target='{p}.a:A', summary='x')]",
        "kdhub_components returned 'A' of kind 'loss'; return it from kdhub_losses",
    ),
    "bad record": (
        "@hookimpl\ndef kdhub_losses():\n    return [LossSpec(name='A b', target='{p}.a:A', summary='x')]",
        "kdhub_losses raised ValueError: LossSpec 'A b': a name must be a plain identifier",
    ),
    "name twice": (
        """
@hookimpl
def kdhub_losses():
    return [LossSpec(name='A', target='{p}.a:A', summary='x')]
@hookimpl
def kdhub_adapters():
    return [Component(kind='adapter', name='A', target='{p}.a:A', summary='x')]
""",
        "component 'A' is there twice",
    ),
    "recipe twice": (
        """
@hookimpl
def kdhub_recipes():
    return [Recipe('small', 'small.py', 'x', task='toy', teacher='t', student='s', budget='cpu-minutes')] * 2
""",
        "recipe 'small' is there twice",
    ),
    "command twice": (
        "@hookimpl\ndef kdhub_add_commands():\n    return [Command(name='go', summary='x', target='{p}.a:main')] * 2",
        "command 'go' is there twice",
    ),
    "target outside": (
        "@hookimpl\ndef kdhub_losses():\n    return [LossSpec(name='A', target='torch.nn:MSELoss', summary='x')]",
        "target 'torch.nn:MSELoss' of 'A' is outside the plugin's package '{p}'",
    ),
    "command outside": (
        "@hookimpl\ndef kdhub_add_commands():\n    return [Command(name='go', summary='x', target='os:system')]",
        "target 'os:system' of 'go' is outside",
    ),
    "command of the core": (
        "@hookimpl\ndef kdhub_add_commands():\n    return [Command(name='train', summary='x', target='{p}.a:main')]",
        "its command 'train' is already one of plugin 'kdhub'",
    ),
    "late failure of a generator": (
        "@hookimpl\ndef kdhub_losses():\n    yield LossSpec(name='A', target='{p}.a:A', summary='x')\n    1 / 0",
        "kdhub_losses raised ZeroDivisionError",
    ),
    "exit in a hook": ("@hookimpl\ndef kdhub_losses():\n    raise SystemExit", "kdhub_losses raised SystemExit"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_manifest_is_refused_with_its_reason(install_plugin, load_fakes, case):
    """Pluggy takes most of these in silence, and the component is then missing without a word."""
    body, reason = BROKEN[case]
    install_plugin("kdbroken", body.replace("{p}", "kdbroken"))
    manager = load_fakes()
    row = manager.plugins[-1]
    assert row.status == "broken"
    assert reason.replace("{p}", "kdbroken") in row.reason
    assert "\n" not in row.reason
    assert not manager.components(scope="kdbroken")
    assert "kdbroken" not in dict(manager._hooks.list_name_plugin())


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("from kdhub import hookimpl", "mandatory hook kdhub_plugin_info is missing"),
        ("from kdhub import hookimpl\n@hookimpl\ndef kdhub_plugin_info(): pass", "kdhub_plugin_info returned None"),
        ("from kdhub import hookimpl\n@hookimpl\ndef kdhub_plugin_info(): return {}", "one PluginInfo, got dict"),
        (
            "from kdhub import PluginInfo, hookimpl\n@hookimpl\ndef kdhub_plugin_info():\n"
            "    return PluginInfo(summary='x', api_level=1, extras=('fast',))",
            "extras must map extras to import names, got ('fast',)",
        ),
    ],
)
def test_the_mandatory_hook_is_demanded(install_plugin, row_of, info, reason):
    """Without it nothing says for which API level the plugin was written."""
    install_plugin("kdbroken", info=info)
    row = row_of("kdbroken")
    assert row.status == "broken"
    assert reason in row.reason


def test_an_optional_hook_may_be_unknown(install_plugin, row_of):
    """The way an author supports two versions of the core: use a newer hook where there is one."""
    install_plugin("kdnewer", "@hookimpl(optionalhook=True)\ndef kdhub_of_tomorrow(): pass")
    assert row_of("kdnewer").status == "ok"


def test_one_command_of_two_plugins_breaks_the_later(install_plugin, load_fakes):
    """Which of two commands runs must not depend on the order of installation."""
    body = "@hookimpl\ndef kdhub_add_commands():\n    return [Command(name='go', summary='x', target='{p}.a:main')]"
    for name in ("kdzeta", "kdalpha"):
        install_plugin(name, body.replace("{p}", name))
    manager = load_fakes()
    assert [(row.scope, row.status) for row in manager.plugins[1:]] == [("kdalpha", "ok"), ("kdzeta", "broken")]
    assert [(source.plugin, command.name) for source, command in manager.commands()] == [("kdalpha", "go")]
