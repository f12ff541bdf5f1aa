# DHKD: a second head, in training alone, for the level of the teacher's logits.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        second_head=dict(
            loss=dict(type="kdcls.BinaryKL"),
            student=dict(type="kdhub.ModuleInput", path="fc"),
            teacher="classifier",
            adapter=dict(type="kdcls.AuxiliaryHead", in_features=64, num_classes=24, hidden=None),
            weight=0.1,
        ),
    ),
)
student = teacher = None
