# The convolutional student: ResNet-8 of the CIFAR protocol, its first convolution on squares of 8 pixels. 0.08 M parameters
student = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.CifarResNet", depth=8, widths=(16, 16, 32, 64), num_classes=24, patch=8),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3),
)
