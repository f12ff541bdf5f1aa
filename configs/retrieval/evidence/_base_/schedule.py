# What the trainings of the evidence share: draws of the data, and optimizer.
train_dataloader = dict(
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="kdret.collate_texts"),
)
train_cfg = dict(by_epoch=False, max_iters=60)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", weight_decay=0.01))
randomness = dict(seed=0)
