"""The switches are read before any plugin is, and mean what they say."""

import string

import pytest
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdhub.plugins import Switches

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6)


def test_plugin_switches_are_taken_out_of_the_command_line():
    """A switch left in place would be refused by the parser of the sub-command."""
    argv = ["train", "-p", "no:kdseg", "config.py", "-p", "./mine.py", "--no-plugins", "--amp"]
    switches, remaining = Switches.read(argv, {})
    assert remaining == ["train", "config.py", "--amp"]
    assert switches == Switches(no_plugins=True, blocked=frozenset({"kdseg"}), modules=("./mine.py",))


def test_arguments_after_two_dashes_are_left_alone():
    """A plugin's own command may have a -p; what follows -- is not ours to read."""
    assert Switches.read(["search", "--", "-p", "x"], {}) == (Switches(), ["search", "--", "-p", "x"])


@pytest.mark.parametrize("argv", [["-p"], ["-p", "no:"], ["-p", "--amp"], ["-p", ""]])
def test_p_without_a_name_is_refused(argv):
    """Taking the next option for a plugin's name would drop that option in silence."""
    with pytest.raises(UsageError, match="-p has no value"):
        Switches.read(argv, {})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Switches()),
        ({"KDHUB_PLUGINS": ""}, Switches(only=frozenset())),
        ({"KDHUB_PLUGINS": "kdseg, ,kdret,"}, Switches(only=frozenset({"kdseg", "kdret"}))),
        ({"KDHUB_DISABLE_PLUGINS": ",kdseg,, kddet"}, Switches(blocked=frozenset({"kdseg", "kddet"}))),
        ({"KDHUB_DISABLE_PLUGINS": ""}, Switches()),
        ({"KDHUB_PLUGIN_ERRORS": "raise", "KDHUB_TRACE_PLUGINS": "1"}, Switches(raise_errors=True, trace=True)),
        ({"KDHUB_PLUGIN_ERRORS": "", "KDHUB_TRACE_PLUGINS": "0"}, Switches()),
    ],
)
def test_environment(environ, expected):
    """An empty item of a list must not become a plugin called '', nor an empty KDHUB_PLUGINS mean all."""
    assert Switches.read([], environ) == (expected, [])


@pytest.mark.parametrize("variable", ["KDHUB_PLUGIN_ERRORS", "KDHUB_TRACE_PLUGINS"])
def test_a_value_that_would_do_nothing_is_refused(variable):
    """KDHUB_PLUGIN_ERRORS=rase in a plugin's CI would hide every broken plugin."""
    with pytest.raises(UsageError, match=variable):
        Switches.read([], {variable: "rase"})


@pytest.mark.parametrize(
    ("argv", "environ"), [(["-p", "no:kdhub"], {}), ([], {"KDHUB_DISABLE_PLUGINS": "kdseg,kdhub"})]
)
def test_the_built_in_plugin_cannot_be_blocked(argv, environ):
    """Without it no config names a distiller, and every error message would be about something else."""
    with pytest.raises(UsageError, match="built-in plugin 'kdhub' cannot be disabled"):
        Switches.read(argv, environ)


@pytest.mark.parametrize(
    ("switches", "disabled"),
    [
        (Switches(), False),
        (Switches(no_plugins=True), True),
        (Switches(no_plugins=True, modules=("kdseg",)), False),
        (Switches(only=frozenset({"kdret"})), True),
        (Switches(only=frozenset({"kdret"}), modules=("kdseg",)), False),
        (Switches(blocked=frozenset({"kdseg"}), modules=("kdseg",)), True),
    ],
)
def test_which_switch_wins(switches, disabled):
    """A block wins over everything, and -p NAME over the broad switches, so that one plugin can be tried alone."""
    assert (switches.why_disabled("kdseg") is not None) is disabled


@settings(deadline=None, max_examples=50)
@given(st.lists(NAMES), st.lists(NAMES), st.lists(NAMES.filter(lambda name: name != "kdhub")))
def test_reading_loses_and_invents_nothing(words, modules, blocked):
    """Whatever stands on the command line is either a switch or handed on, in order."""
    argv = [*words, *(item for name in modules for item in ("-p", name))]
    argv += [item for name in blocked for item in ("-p", f"no:{name}")]
    switches, remaining = Switches.read(argv, {})
    assert remaining == words
    assert switches.modules == tuple(dict.fromkeys(modules))
    assert switches.blocked == frozenset(blocked)
