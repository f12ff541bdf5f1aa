# the rival: plain DMD
_base_ = ["swiftbrush_unet_teacher-unet_600it_fashion-14.py"]
model = dict(weighting="dmd")
