"""Metrics that say where the errors are."""
