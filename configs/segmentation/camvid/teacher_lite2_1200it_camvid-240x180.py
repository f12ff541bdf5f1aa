# the recipe `kdseg:camvid-teacher`; it lies inside the plugin, so that the wheel has it
_base_ = ["../../../plugins/kdhub-segmentation/kdseg/configs/teacher_lite2_1200it_camvid-240x180.py"]
