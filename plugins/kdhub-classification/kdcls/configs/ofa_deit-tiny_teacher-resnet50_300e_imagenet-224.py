# the authors' schedule for transformers: 300 epochs of AdamW at 8 x 128 images; images are mixed, and the teacher sees the mixed ones
_base_ = ["_base_/imagenet_224.py"]
exits = {
    f"exit{number}": dict(
        loss=dict(type="kdcls.OFAKD", exponent=1.5),
        student=f"blocks.{block}",
        teacher="fc",
        adapter=dict(
            type="kdcls.TokenExit", dim=192, num_classes=1000, grid=14, prefix_tokens=1, merges=1, blocks=blocks
        ),
        batch=dict(labels="labels"),
    )
    for number, (block, blocks) in enumerate(((1, 3), (3, 2), (9, 1), (11, 1)), start=1)
}
model = dict(
    student=dict(
        net=dict(model_name="deit_tiny_patch16_224"),
        data_preprocessor=dict(
            type="kdcls.MixingPreprocessor",
            batch_augments=dict(
                type="timm.data.Mixup", mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=1000
            ),
        ),
    ),
    teacher=dict(
        model=dict(net=dict(model_name="resnet50")),
        checkpoint="data/weights/resnet50.safetensors",
        batch="student",
    ),
    objectives=dict(
        logits=dict(
            loss=dict(type="kdcls.OFAKD", exponent=1.5), student="head", teacher="fc", batch=dict(labels="labels")
        ),
        **exits,
    ),
)
train_dataloader = dict(
    batch_size=128,
    dataset=dict(data=dict(transform=dict(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, interpolation="bicubic"))),
)
train_cfg = dict(max_epochs=300)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=5e-4, weight_decay=0.05), clip_grad=dict(max_norm=5.0)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.002, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR", by_epoch=True, begin=20, end=300, T_max=280, eta_min=1e-6, convert_to_iter_based=True
    ),
]
del exits
