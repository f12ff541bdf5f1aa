def noise_loader(chunk, chunks, sampler, seed=None):
    return dict(
        batch_size=1,
        num_workers=0,
        sampler=sampler,
        dataset=dict(type="kdgen.NoiseDataset", shape=(2,), chunk=chunk, chunks=chunks, seed=seed),
        collate_fn=dict(type="kdgen.join"),
    )


# no data: a batch is one chunk of unit noise
train_dataloader = noise_loader(256, 1000, dict(type="InfiniteSampler", shuffle=False))
val_dataloader = noise_loader(1000, 2, dict(type="DefaultSampler", shuffle=False), seed=1)
val_evaluator = dict(type="kdgen.RingQuality", modes=8)
val_cfg = dict()
train_cfg = dict(by_epoch=False, max_iters=3000, val_interval=1000)
randomness = dict(seed=0)
del noise_loader
