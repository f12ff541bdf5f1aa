# SinKD: optimal transport between the predictions of a batch, beside plain distillation.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        logits=dict(
            loss=dict(type="kdhub.TemperatureKL", temperature=4.0), student="fc", teacher="classifier", weight=1.0
        ),
        batch=dict(loss=dict(type="kdcls.SinKD"), student="fc", teacher="classifier", weight=8e-4),
    ),
)
student = teacher = None
