# What the students of the evidence share: their query side trains, documents stay those of the model that they start from and are encoded
# once for all runs (`document_vectors`). The two teachers' scores are cached and fused list by list (z-scores, as the teachers are of
# different kinds), so a step costs a few queries. `val` is a part of the training queries; `make evidence-*` reads `test`, once a run.
# `make evidence-margin-mse-*` trains the same student by margins, by lists (the loss exchanged), and alone (labels instead of scores).
_base_ = ["schedule.py"]
data_root = "data/evidence/cranfield"
iterations = 100

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="kdret.ScoredLists",
        data_root=data_root,
        split="train",
        scores=["dense.jsonl.gz", "sparse.jsonl.gz"],
        normalise="zscore",
        candidates=8,
    ),
)
train_cfg = dict(max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=iterations),
]

val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.RetrievalSplit", data_root=data_root, split="val"),
)
val_cfg = dict()
val_evaluator = dict(type="kdret.IRMetric", similarity="dot", measures=["nDCG@10", "MRR@10", "recall@100"])
default_hooks = dict(checkpoint=dict(interval=iterations, by_epoch=False))
