# DHKD as its authors train pairs of different families: a second head with a hidden layer, and gradients aligned
_base_ = ["_base_/cifar100.py"]
predecessors = dict(teacher="kdcls:cifar100-resnet32x4")
model = dict(
    type="kdcls.AlignedDistiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="kdcls.WideResNet", depth=16, factor=2),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    objectives=dict(
        second_head=dict(
            loss=dict(type="kdcls.BinaryKL", temperature=2.0),
            student=dict(type="kdhub.ModuleInput", path="fc"),
            teacher="fc",
            adapter=dict(type="kdcls.AuxiliaryHead", in_features=128, num_classes=100, hidden=200),
            weight=1.0,
        )
    ),
)
