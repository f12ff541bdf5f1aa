# The rival: the same scores by their margins, which the released code of DiSCo offers too.
_base_ = ["_base_/conversations.py"]

model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    objectives=dict(scores=dict(loss=dict(type="kdret.MarginMSE"), student="score", batch=dict(labels="labels"))),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))  # of 1e-4 and 5e-4, by nDCG@10 on the split `val` of CAsT
