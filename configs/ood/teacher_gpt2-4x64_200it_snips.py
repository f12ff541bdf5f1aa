_base_ = ["_base_/snips.py", "_base_/teacher.py"]
