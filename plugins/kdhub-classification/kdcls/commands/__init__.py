"""Sub-commands that the plugin adds to `kdhub`."""
