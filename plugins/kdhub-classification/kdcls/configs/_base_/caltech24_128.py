# Caltech-24 as train.zip and val.zip in data/caltech24, or in KDHUB_DATA/caltech24
size = 128


def loader(split, batch_size, **transform):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=split == "train"),
        dataset=dict(
            type="kdhub.TorchDataset",
            data=dict(
                type="kdcls.ImageFolder",
                root=f"data/caltech24/{split}.zip",
                transform=dict(
                    type="timm.data.create_transform",
                    input_size=size,
                    # EfficientNet-Lite's own; the student sees the same
                    mean=(0.5, 0.5, 0.5),
                    std=(0.5, 0.5, 0.5),
                    **transform,
                ),
            ),
        ),
        collate_fn=dict(type="default_collate"),
    )


train_dataloader = loader("train", 32, is_training=True, scale=(0.35, 1.0), interpolation="bilinear")
val_dataloader = test_dataloader = loader("val", 48, crop_pct=1.0, interpolation="bilinear")
val_evaluator = test_evaluator = dict(type="kdcls.ClassReport", topk=(1, 5))
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01))
randomness = dict(seed=0)
del loader
