# ImageNet weights come out of a package; the classifier is new
_base_ = ["_base_/caltech24_128.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.EfficientNetLite", name="tf_efficientnet_lite2", num_classes=24),
    criterion=dict(type="torch.nn.CrossEntropyLoss", label_smoothing=0.1),
)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
