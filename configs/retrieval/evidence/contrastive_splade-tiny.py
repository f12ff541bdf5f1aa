# Without a teacher, as convSPLADE: judged passages against the rest of the batch. It can use the judged turns alone.
_base_ = ["_base_/conversations.py"]

model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    objectives=dict(
        order=dict(loss=dict(type="kdret.InBatchCrossEntropy", temperature=1.0), student="similarity"),
    ),
)
train_dataloader = dict(dataset=dict(split="train-judged", scores="judged.jsonl.gz", first="judged"))
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # of 1e-4 and 5e-4, by nDCG@10 on the split `val` of CAsT
