# The student on the labels alone: what every distilled one is compared with.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py"]
model = {{_base_.student}}
student = None
