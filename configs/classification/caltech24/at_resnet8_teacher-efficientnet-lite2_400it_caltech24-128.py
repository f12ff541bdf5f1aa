# A rival: where the first two stages are active.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        stage1=dict(loss=dict(type="kdcls.AttentionTransfer"), student="layer1", teacher="blocks.2", weight=10.0),
        stage2=dict(loss=dict(type="kdcls.AttentionTransfer"), student="layer2", teacher="blocks.4", weight=10.0),
    ),
)
student = teacher = None
