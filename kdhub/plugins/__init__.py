"""Finding, judging, loading and asking plugins; imports neither torch nor mmengine."""

from kdhub.plugins.entry import Entry
from kdhub.plugins.load import Loaded
from kdhub.plugins.manager import PluginManager, load_plugins
from kdhub.plugins.switches import Switches

__all__ = ["Entry", "Loaded", "PluginManager", "Switches", "load_plugins"]
