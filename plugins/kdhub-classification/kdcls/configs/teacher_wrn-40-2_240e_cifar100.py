_base_ = ["_base_/cifar100.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.WideResNet", depth=40, factor=2),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
)
