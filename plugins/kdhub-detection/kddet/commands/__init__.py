"""Commands that the plugin adds to ``kdhub``."""
