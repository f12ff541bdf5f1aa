_base_ = ["_base_/ag-news-world.py", "_base_/teacher.py"]
