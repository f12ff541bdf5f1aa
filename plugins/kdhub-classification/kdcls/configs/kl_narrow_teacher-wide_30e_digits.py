# one command: `kdhub train` trains the teacher first, and never again while its config is the same
_base_ = ["_base_/digits.py"]
predecessors = dict(teacher="kdcls:digits-teacher")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="kdcls.DigitNet", width=4),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    objectives=dict(
        logits=dict(
            loss=dict(type="kdhub.TemperatureKL", temperature=4.0),
            student="classifier",
            teacher="classifier",
            weight=1.0,
        )
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=5)
custom_hooks = [dict(type="kdcls.PanelHook")]
