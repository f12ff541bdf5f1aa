# The teacher: ImageNet's weights out of a package, and a linear classifier that is trained on its features
_base_ = ["_base_/caltech24.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.EfficientNetLite", name="tf_efficientnet_lite2", num_classes=24, frozen=True),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_iters=40, val_interval=40)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, begin=0, end=40, T_max=40, eta_min=0.0)]
work_dir = "work_dirs/caltech24/teacher"
