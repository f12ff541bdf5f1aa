# PLD: the teacher's ranking of the classes, the label first, in place of cross-entropy and KL.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        ranking=dict(loss=dict(type="kdcls.PLD", temperature=2.0), student="fc", teacher="classifier"),
    ),
    task_weight=0.0,
)
student = teacher = None
