# Texts in the words of MiniLM; validation data chose the hyperparameters, the test looks once.
def loader(split, sampler):
    tokens = dict(tokenizer="data/evidence/minilm", max_length=32)
    return dict(
        batch_size=32,
        num_workers=0,
        sampler=sampler,
        dataset=dict(split=split, part="in", labelled=True, **tokens),
        collate_fn=dict(type="kdlm.collate_tokens"),
    )


train_dataloader = loader("train", dict(type="InfiniteSampler", shuffle=True))
val_dataloader = loader("val", dict(type="DefaultSampler", shuffle=False))
test_dataloader = loader("test", dict(type="DefaultSampler", shuffle=False))
val_evaluator = test_evaluator = dict(type="kdlm.ClassificationFigures")
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01))
randomness = dict(seed=0)
del loader
