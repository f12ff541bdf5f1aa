"""Losses of kdhub-language, each in a file of its name."""
