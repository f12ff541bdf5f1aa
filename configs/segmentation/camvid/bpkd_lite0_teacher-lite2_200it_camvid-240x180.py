# the recipe `kdseg:camvid-small`; it lies inside the plugin, so that the wheel has it
_base_ = ["../../../plugins/kdhub-segmentation/kdseg/configs/bpkd_lite0_teacher-lite2_200it_camvid-240x180.py"]
