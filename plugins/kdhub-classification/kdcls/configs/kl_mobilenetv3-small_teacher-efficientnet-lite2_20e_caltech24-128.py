# plain distillation of logits; the teacher is trained first, once
_base_ = ["mobilenetv3-small_20e_caltech24-128.py"]
predecessors = dict(teacher="kdcls:caltech24-teacher")
model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
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
custom_hooks = [dict(type="kdcls.PanelHook")]
