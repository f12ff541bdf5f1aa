# The student on the labels alone: what every distilled one is compared with.
_base_ = ["_base_/camvid_240x180.py", "_base_/lite0.py"]
