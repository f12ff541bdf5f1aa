"""What ``kdhub new`` writes: a plugin that installs, tests itself and trains, for its author to change."""
