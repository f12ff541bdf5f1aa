# Validation data are in distribution, and hyperparameters were chosen on them: text out of distribution is seen by the test alone.
def loader(split, part, batch_size, sampler):
    tokens = dict(tokenizer="work_dirs/evidence/docstrings-lm/student", max_length=32)
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=sampler,
        dataset=dict(split=split, part=part, **tokens),
        collate_fn=dict(type="kdlm.collate_tokens"),
    )


train_dataloader = loader("train", "in", 32, dict(type="InfiniteSampler", shuffle=True))
val_dataloader = loader("val", "in", 64, dict(type="DefaultSampler", shuffle=False))
test_dataloader = loader("test", "both", 64, dict(type="DefaultSampler", shuffle=False))
val_evaluator = dict(type="kdlm.Perplexity")
test_evaluator = dict(type="kdood.OODFigures")
val_cfg, test_cfg = dict(), dict()
train_cfg = dict(type="IterBasedTrainLoop", max_iters=200, val_interval=200)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=3e-3, weight_decay=0.0))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=200, eta_min=0.0)]
randomness = dict(seed=0)
del loader
