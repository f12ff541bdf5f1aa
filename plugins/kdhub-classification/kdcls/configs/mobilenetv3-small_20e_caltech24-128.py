# the student alone: what distillation has to beat
_base_ = ["_base_/caltech24_128.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="timm.create_model", model_name="mobilenetv3_small_100", num_classes=24),
    criterion=dict(type="torch.nn.CrossEntropyLoss", label_smoothing=0.1),
)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=2, end=20, T_max=18, eta_min=0.0, convert_to_iter_based=True),
]
