# the student on the labels alone
_base_ = ["../../../plugins/kdhub-segmentation/kdseg/configs/lite0_200it_camvid-240x180.py"]
