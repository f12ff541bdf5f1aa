# A cross-encoder for the ensemble of Margin-MSE's evidence, as none comes inside a package: three layers of MiniLM, a new head, and RankNet on
# judged documents against the dense teacher's candidates, as the paper trains BERT_CAT. No evaluation: it has no vectors to rank by.
_base_ = ["_base_/schedule.py"]
iterations = 60

model = dict(
    type="kdhub.Distiller",
    student=dict(type="kdret.CrossEncoder", model="data/evidence/models/dense", layers=[0, 2, 5], max_length=96),
    objectives=dict(
        order=dict(loss=dict(type="kdret.RankNet", weighted=False), student="score", batch=dict(labels="labels"))
    ),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type="kdret.ScoredLists",
        data_root="data/evidence/cranfield",
        split="train",
        scores="dense.jsonl.gz",
        candidates=3,
    ),
)
train_cfg = dict(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=iterations),
]
optim_wrapper = dict(optimizer=dict(lr=5e-5))
