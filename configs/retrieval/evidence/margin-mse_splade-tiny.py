# The rival: the same scores by their margins, which the released code of DiSCo offers too.
_base_ = ["_base_/conversations.py"]

model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    objectives=dict(scores=dict(loss=dict(type="kdret.MarginMSE"), student="score", batch=dict(labels="labels"))),
)
