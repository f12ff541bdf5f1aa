"""Metrics for detection."""
