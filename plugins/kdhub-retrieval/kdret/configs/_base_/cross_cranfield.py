# A cross-encoder teaches lists of Cranfield's documents; data, teacher, schedule and evaluation, without the student.
# The candidates are what a dense model ranks highest, mined before the training begins; the cross-encoder scores them while it
# teaches. `--cfg-options lists:job.depth=20` changes how they are mined.
# Teacher and student come from the Hugging Face hub. No number of these configs has been measured with them: where they were
# written no hub could be reached. Tests train them with tiny random models. Rates and weights are those of the papers.
predecessors = dict(lists="mine_minilm_50-negatives_cranfield.py")
data_root = "data/cranfield"
iterations = 2000

teacher = dict(
    type="kdhub.ModelTeacher",
    model=dict(type="kdret.CrossEncoder", model="cross-encoder/ms-marco-MiniLM-L6-v2", max_length=256),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(
        type="kdret.ScoredLists", data_root=data_root, scores="@lists/lists.jsonl.gz", split="train", candidates=8
    ),
)
train_cfg = dict(by_epoch=False, max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-5, weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=iterations // 10),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.0, by_epoch=False, begin=iterations // 10, end=iterations),
]

val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.RetrievalSplit", data_root=data_root, split="dev"),
)
val_cfg = dict()
val_evaluator = dict(type="kdret.IRMetric", similarity="dot", speed=True)
test_dataloader = val_dataloader
test_cfg = val_cfg
test_evaluator = val_evaluator

# a cross-encoder has no vectors by which to rank a split
default_hooks = dict(baseline=dict(teacher=False))
randomness = dict(seed=0)
