"""Sub-commands of kdhub that the plugin adds, each in a file of its name."""
