"""kdhub: one registry of knowledge-distillation methods that run on models people already have."""

from kdhub.hookspec import hookimpl

__all__ = ["hookimpl"]
