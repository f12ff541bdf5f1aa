"""Names to classes: the plugins' components inside mmengine's registries, and building them from a config's dicts."""

from kdhub.registry.active import activate, init
from kdhub.registry.build import build, find
from kdhub.registry.roots import ROOT_OF_KIND, root_registry
from kdhub.registry.scope import PluginScope

__all__ = ["ROOT_OF_KIND", "PluginScope", "activate", "build", "find", "init", "root_registry"]
