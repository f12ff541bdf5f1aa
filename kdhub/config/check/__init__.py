"""What is wrong with a config, all findings at once, before anything is built."""
