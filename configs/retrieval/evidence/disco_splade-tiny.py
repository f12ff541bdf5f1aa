# DiSCo: the method of the evidence, with the weights of the released configuration.
_base_ = ["_base_/conversations.py"]

model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    objectives=dict(
        scores=dict(
            loss=dict(type="kdret.ListwiseKL", temperature=1.0),
            student="score",
            batch=dict(labels="labels"),
            weight=0.99,
        ),
        contrast=dict(
            loss=dict(type="kdret.InBatchCrossEntropy", temperature=1.0, other_positives=False),
            student="similarity",
            weight=0.01,
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # of 1e-4 and 5e-4, by nDCG@10 on the split `val` of CAsT
