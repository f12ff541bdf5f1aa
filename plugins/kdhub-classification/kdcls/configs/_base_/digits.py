def loader(split, batch_size, shuffle):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=shuffle),
        dataset=dict(type="kdcls.Digits", split=split),
        collate_fn=dict(type="default_collate"),
    )


train_dataloader = loader("train", 32, True)
val_dataloader = loader("val", 100, False)
test_dataloader = loader("test", 100, False)
val_evaluator = test_evaluator = dict(type="kdhub.Accuracy")
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4))
randomness = dict(seed=0)
del loader
