_base_ = ["_base_/cifar100.py"]
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.CifarResNet", depth=32),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
)
