# OFA-KD: exit branches, in training alone, that learn from the teacher's logits.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        exit1=dict(
            loss=dict(type="kdcls.OFAKD", exponent=1.5),
            student="layer1",
            teacher="classifier",
            adapter=dict(type="kdcls.ConvExit", in_channels=16, width=64, num_classes=24, halvings=2),
        ),
        exit2=dict(
            loss=dict(type="kdcls.OFAKD", exponent=1.5),
            student="layer2",
            teacher="classifier",
            adapter=dict(type="kdcls.ConvExit", in_channels=32, width=64, num_classes=24, halvings=1),
        ),
        exit3=dict(
            loss=dict(type="kdcls.OFAKD", exponent=1.5),
            student="layer3",
            teacher="classifier",
            adapter=dict(type="kdcls.ConvExit", in_channels=64, width=64, num_classes=24, halvings=0),
        ),
        logits=dict(loss=dict(type="kdcls.OFAKD", exponent=1.5), student="fc", teacher="classifier"),
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
student = teacher = None
