"""From a path or a recipe to a config: files, packages, overrides; and from a config to a file."""
