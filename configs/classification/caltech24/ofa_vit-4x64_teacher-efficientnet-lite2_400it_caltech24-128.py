# OFA-KD: exit branches, in training alone, that learn from the teacher's logits.
_base_ = ["_base_/caltech24.py", "_base_/vit.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        exit1=dict(
            loss=dict(type="kdcls.OFAKD", exponent=1.5),
            student="blocks.1",
            teacher="classifier",
            adapter=dict(type="kdcls.TokenExit", dim=64, num_classes=24, grid=8, prefix_tokens=1, merges=0),
        ),
        exit2=dict(
            loss=dict(type="kdcls.OFAKD", exponent=1.5),
            student="blocks.3",
            teacher="classifier",
            adapter=dict(type="kdcls.TokenExit", dim=64, num_classes=24, grid=8, prefix_tokens=1, merges=0),
        ),
        logits=dict(loss=dict(type="kdcls.OFAKD", exponent=1.5), student="head", teacher="classifier"),
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
student = teacher = None
