# A rival: distances and angles between the samples of a batch.
_base_ = ["_base_/caltech24.py", "_base_/vit.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        distances=dict(
            loss=dict(type="kdhub.Relational", similarity="distance", beta=1.0),
            student=dict(type="kdhub.ModuleInput", path="head"),
            teacher="global_pool",
            weight=2.5,
        ),
        angles=dict(
            loss=dict(type="kdcls.AngleRelational"),
            student=dict(type="kdhub.ModuleInput", path="head"),
            teacher="global_pool",
            weight=5.0,
        ),
    ),
)
student = teacher = None
