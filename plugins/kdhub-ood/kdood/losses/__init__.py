"""Losses of kdhub-ood, each in a file of its name."""
