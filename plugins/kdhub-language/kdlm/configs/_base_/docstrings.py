# texts and tokenizer are made first; `tokens` lies in the folder of this run, `tokens/text` in that of the tokenizer's
predecessors = dict(tokens="kdlm:docstrings-tokenizer")


def loader(split, batch_size, shuffle):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=shuffle),
        dataset=dict(
            type="kdlm.TextLines", path=f"@tokens/text/{split}.txt", tokenizer="@tokens/tokenizer", max_length=64
        ),
        collate_fn=dict(type="kdlm.collate_tokens"),
    )


train_dataloader = loader("train", 16, True)
val_dataloader = test_dataloader = loader("val", 32, False)
val_evaluator = test_evaluator = dict(type="kdlm.Perplexity")
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.0))
randomness = dict(seed=0)
del loader
