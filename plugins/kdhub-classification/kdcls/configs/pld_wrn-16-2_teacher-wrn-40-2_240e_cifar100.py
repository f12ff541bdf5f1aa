# PLD stands in the place of cross-entropy and KL; the teacher is trained first, once
_base_ = ["_base_/cifar100.py"]
predecessors = dict(teacher="kdcls:cifar100-wrn-40-2")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="kdcls.WideResNet", depth=16, factor=2),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    objectives=dict(
        ranking=dict(
            loss=dict(type="kdcls.PLD", temperature=4.0), student="fc", teacher="fc", batch=dict(labels="labels")
        )
    ),
    task_weight=0.0,
)
