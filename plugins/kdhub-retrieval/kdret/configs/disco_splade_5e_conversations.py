# DiSCo: a SPLADE query encoder reads the whole conversation, and learns the scores that the same SPLADE finds with the rewritten
# question. Documents are encoded by a frozen copy, so an index of the teacher's stays valid.
#   python -m kdret.data.conversational TURNS --passages P --qrels Q --output data/conversations
#   kdhub mine data/conversations --split train-human --teacher naver/splade-cocondenser-ensembledistil --depth 1000 \
#     --output data/conversations/human.jsonl.gz
# Several rewriters: mine with each, and name all files in `scores`. A small corpus, such as CAsT's 183 passages, has no ranks 11 to
# 960: set skip=0. With first="best" turns that nobody judged train too: the teacher's best document stands for the relevant one.
# The settings are those of the released configuration (card disco.md, section 5). No number of this config has been measured: where
# it was written no hub could be reached. A test trains it with a tiny random model.
splade = "naver/splade-cocondenser-ensembledistil"
data_root = "data/conversations"

model = dict(
    type="kdhub.Distiller",
    student=dict(type="kdret.SparseEncoder", model=splade, max_length=256, frozen_documents=True),
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
train_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(
        type="kdret.ScoredLists",
        data_root=data_root,
        split="train",
        scores=["human.jsonl.gz"],
        candidates=17,
        skip=10,
        keep=950,
        unscored="max",
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=5)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-5, weight_decay=0.0))
param_scheduler = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50)]

val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.RetrievalSplit", data_root=data_root, split="test"),
)
val_cfg = dict()
val_evaluator = dict(
    type="kdret.IRMetric", similarity="dot", measures=["nDCG@3", "MRR@10", "recall@10", "recall@100"], speed=True
)
test_dataloader = val_dataloader
test_cfg = val_cfg
test_evaluator = val_evaluator

randomness = dict(seed=123)
