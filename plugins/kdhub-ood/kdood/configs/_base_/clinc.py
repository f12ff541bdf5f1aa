# a stage overrides the tokenizer: that of the stage before, saved with its student
def loader(split, batch_size, shuffle, part):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=shuffle),
        dataset=dict(type="kdood.CLINC150", split=split, part=part, tokenizer="", max_length=64),
        collate_fn=dict(type="kdlm.collate_tokens"),
    )


train_dataloader = loader("train", 16, True, "in")
val_dataloader = loader("val", 32, False, "in")
test_dataloader = loader("test", 32, False, "both")
# training sees no text out of distribution: the test alone does
val_evaluator = dict(type="kdlm.Perplexity")
test_evaluator = dict(type="kdood.OODFigures")
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.0))
randomness = dict(seed=0)
del loader
