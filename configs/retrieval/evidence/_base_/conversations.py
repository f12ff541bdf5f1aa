# What the conversational students of the evidence share: SPLADE-tiny's query side reads the whole conversation and trains, its documents
# are frozen, as in DiSCo. The teacher is the same model reading a person's rewrite (CAsT) or a machine's (MT-RAG). No ranks are skipped:
# the collections have 1,671 passages together, not 25 million.
_base_ = ["schedule.py"]
data_root = "data/evidence/conversations/cast"
iterations = 30

student = dict(
    type="kdret.SparseEncoder",
    model="data/evidence/models/sparse",
    max_length=48,
    freeze=["bert.embeddings.word_embeddings"],
    dropout=0.0,
    frozen_documents=True,
    document_vectors="data/evidence/vectors",
)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="kdret.ScoredLists",
        data_root=data_root,
        split="train",
        scores="human.jsonl.gz",
        candidates=17,
        keep=200,
        first="best",
    ),
)
train_cfg = dict(max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=5),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=5, end=iterations),
]

val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.RetrievalSplit", data_root=data_root, split="val"),
)
val_cfg = dict()
val_evaluator = dict(
    type="kdret.IRMetric", similarity="dot", measures=["nDCG@3", "nDCG@10", "MRR@10", "recall@10", "recall@100"]
)
default_hooks = dict(checkpoint=dict(interval=iterations, by_epoch=False))
test_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.RetrievalSplit", data_root=data_root, split="test"),
)
test_cfg = dict()
test_evaluator = dict(
    type="kdret.IRMetric", similarity="dot", measures=["nDCG@3", "nDCG@10", "MRR@10", "recall@10", "recall@100"]
)
