# A rival: the true class and the others, weighted apart.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        logits=dict(
            loss=dict(type="kdcls.DKD", temperature=4.0, alpha=1.0, beta=2.0),
            student="fc",
            teacher="classifier",
            weight=0.3,
        ),
    ),
)
student = teacher = None
