"""Retrieval plugin of kdhub."""
