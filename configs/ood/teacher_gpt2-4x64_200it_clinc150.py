_base_ = ["_base_/clinc150.py", "_base_/teacher.py"]
