# A rival: which samples of a batch have alike feature maps.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        similarity=dict(
            loss=dict(type="kdhub.Relational", similarity="dot", diagonal=True),
            student="layer3",
            teacher="blocks.4",
            weight=30.0,
        ),
    ),
)
student = teacher = None
