# Everything that the methods read of the teacher: `kdhub cache` of this file fills the store that all of them share.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        logits=dict(loss=dict(type="kdhub.TemperatureKL", temperature=4.0), student="fc", teacher="classifier"),
        pooled=dict(
            loss=dict(type="kdcls.AngleRelational"),
            student=dict(type="kdhub.ModuleInput", path="fc"),
            teacher="global_pool",
        ),
        stage1=dict(loss=dict(type="kdcls.AttentionTransfer"), student="layer1", teacher="blocks.2"),
        stage2=dict(loss=dict(type="kdcls.AttentionTransfer"), student="layer2", teacher="blocks.4"),
    ),
)
student = teacher = None
