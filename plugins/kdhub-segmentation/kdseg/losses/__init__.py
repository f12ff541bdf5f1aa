"""Losses on logit maps and feature maps."""
