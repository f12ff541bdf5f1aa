# the weights of the authors; their warm-up of 20 epochs is 20 times 782 steps of 64 images
_base_ = ["_base_/cifar100.py"]
predecessors = dict(teacher="kdcls:cifar100-resnet32x4")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="kdcls.CifarResNet", depth=8),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    objectives=dict(
        logits=dict(
            loss=dict(type="kdcls.DKD", temperature=4.0, alpha=1.0, beta=8.0),
            student="fc",
            teacher="fc",
            batch=dict(labels="labels"),
            weight=dict(type="kdhub.LinearSchedule", start=0.0, end=1.0, steps=15640),
        )
    ),
)
