"""Filling and opening stores, and the teachers that answer from them; kdhub works without this folder."""
