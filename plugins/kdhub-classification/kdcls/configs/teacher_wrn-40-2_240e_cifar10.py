_base_ = ["_base_/cifar10.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.WideResNet", depth=40, factor=2, num_classes=10),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
)
