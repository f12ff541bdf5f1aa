"""Errors of data, of building and of processes, told in one line that says what to do."""
