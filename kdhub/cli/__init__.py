"""The command line: one file a sub-command, and nothing heavy imported before it is needed."""
