"""Indexes: a corpus that can be searched, built once, saved, and refused for another model."""

from __future__ import annotations
