# The teacher of the CamVid recipes, trained on the labels alone: some 20 minutes on one core.
_base_ = ["_base_/camvid_240x180.py", "_base_/lite0.py"]

model = dict(
    backbone=dict(
        model_name="tf_efficientnet_lite2",
        init_cfg=dict(checkpoint="data/weights/tf_efficientnet_lite2.pth"),
    ),
    decode_head=dict(in_channels=[24, 48, 120, 352], channels=128),
)
# one rate for all, and a lower one: with many iterations the head needs no hurry
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=None)
iterations = 1200
train_cfg = dict(max_iters=iterations, val_interval=300)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=20, end=iterations),
]
work_dir = "work_dirs/camvid-teacher"
