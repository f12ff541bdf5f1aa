_base_ = "mmseg::pspnet/pspnet_r50-d8_4xb4-80k_pascal-context-59-480x480.py"

model = dict(
    pretrained="open-mmlab://resnet18_v1c",
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
# as on the other data sets; mmseg's own Pascal Context configs have 0.004 and 0.0001
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=0.0005))
