# the rival: plain DMD
_base_ = ["swiftbrush_unet_teacher-unet_4000it_fashion-28.py"]
model = dict(weighting="dmd")
