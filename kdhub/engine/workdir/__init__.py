"""What a work_dir holds about its run, whose it is, and who may write in it."""
