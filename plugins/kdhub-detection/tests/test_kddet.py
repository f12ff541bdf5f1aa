"""What kdhub takes for granted about every plugin."""

from kdhub.testing.contracts import assert_plugin_contract


def test_contract():
    """A broken record, recipe or docstring would show only to the first user who needs it."""
    assert_plugin_contract("kddet")
