# mean teacher: the student's average over the steps says what the unlabelled images show
_base_ = ["narrow_1000it_digits-30-labels.py"]
model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(type="kdhub.EMATeacher", momentum=0.99),
    objectives=dict(
        consistency=dict(
            loss=dict(type="kdhub.TemperatureKL", temperature=1.0),
            student="classifier",
            teacher="classifier",
            weight=dict(type="kdhub.LinearSchedule", start=0.0, end=2.0, steps=300),
        )
    ),
)
