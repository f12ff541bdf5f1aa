"""A config's ``kdhub.require`` stops at once, with the line to type."""

import pytest

from kdhub.errors import UsageError


@pytest.fixture
def manager(install_plugin, load_fakes):
    """One plugin that loads and one that does not."""
    install_plugin("kdtoy", dist="kdx-toy", version="0.2")
    install_plugin("kdsad", "import missing_module", dist="kdx-sad")
    return load_fakes()


def test_met_requirements_pass(manager):
    """A development version counts: it is what developers of plugins have."""
    manager.require(["kdx-toy>=0.1", "KDX_toy", "kdhub>=0.0.1"])


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("kdhub-segmentation>=0.2", ["kdhub-segmentation is not installed", "plugins/kdhub-segmentation"]),
        ("kdx-toi", ["did you mean 'kdx-toy'?"]),
        ("kdx-toy>=0.3", ["kdx-toy 0.2 is installed, >=0.3 is required", "pip install 'kdx-toy>=0.3'"]),
        ("kdx-sad", ["kdx-sad is installed, but its plugin 'kdsad' is broken", "missing_module"]),
        ("kdhub>=99", ["kdhub", ">=99 is required", "-> install a newer kdhub"]),
        ("not a requirement", ["'not a requirement' is not a requirement", "kdhub-segmentation>=0.2"]),
    ],
)
def test_each_failure_says_what_is_wrong(manager, requirement, expected):
    """Not installed, too old and broken have three remedies, so they need three texts."""
    with pytest.raises(UsageError) as caught:
        manager.require([requirement])
    for part in expected:
        assert part in str(caught.value)


def test_all_failures_are_told_at_once(manager):
    """One failure a run means one installation a run."""
    with pytest.raises(UsageError, match=r"pip install 'kdx-toy>=0\.3' 'kdx-other'") as caught:
        manager.require(["kdx-toy>=0.3", "kdx-other", "kdx-sad"])
    assert "kdx-sad is installed, but" in str(caught.value)


@pytest.mark.parametrize("requirement", ["kdhub-segmentation>=0.2", "kdhub-segmentatoin", "kdhub>=99"])
def test_nothing_is_advised_that_no_index_has(manager, requirement):
    """Whoever publishes kdhub's own or a misspelt name on an index would be installed by everybody who types the line."""
    with pytest.raises(UsageError) as caught:
        manager.require([requirement])
    assert f"pip install '{requirement}'" not in str(caught.value)
    assert f"pip install {requirement}" not in str(caught.value)
