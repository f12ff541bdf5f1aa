# Plain distillation of logits: the method that others must beat.
_base_ = ["_base_/caltech24.py", "_base_/vit.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        logits=dict(
            loss=dict(type="kdhub.TemperatureKL", temperature=4.0), student="head", teacher="classifier", weight=1.0
        ),
    ),
)
student = teacher = None
