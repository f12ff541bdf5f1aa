# Widths a quarter of ResNet-50's, as in mmseg's PSPNet with ResNet-18.
_base_ = "mmseg::isanet/isanet_r50-d8_4xb2-80k_cityscapes-512x1024.py"

model = dict(
    pretrained="open-mmlab://resnet18_v1c",
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128, isa_channels=64),
    auxiliary_head=dict(in_channels=256, channels=64),
)
