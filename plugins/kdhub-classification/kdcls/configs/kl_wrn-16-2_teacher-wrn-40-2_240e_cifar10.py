# plain distillation of logits with the weights of the CIFAR-100 protocol; the teacher is trained first, once
_base_ = ["_base_/cifar10.py"]
predecessors = dict(teacher="kdcls:cifar10-wrn-40-2")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="kdcls.WideResNet", depth=16, factor=2, num_classes=10),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    objectives=dict(
        logits=dict(loss=dict(type="kdhub.TemperatureKL", temperature=4.0), student="fc", teacher="fc", weight=0.9)
    ),
    task_weight=0.1,
)
