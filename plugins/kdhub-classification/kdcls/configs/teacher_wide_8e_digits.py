_base_ = ["_base_/digits.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.DigitNet", width=32),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
)
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=4)
