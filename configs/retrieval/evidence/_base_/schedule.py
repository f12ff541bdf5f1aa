# What the trainings of the evidence share: draws of the data, optimizer and schedule by iterations.
iterations = 80
train_dataloader = dict(
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="kdret.collate_texts"),
)
train_cfg = dict(by_epoch=False, max_iters=iterations)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=iterations),
]
randomness = dict(seed=0)
