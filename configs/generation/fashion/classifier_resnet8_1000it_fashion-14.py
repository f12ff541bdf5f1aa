# the Fréchet distance is measured in its features; trained once, in a folder that all runs here share
def loader(split, batch_size, sampler):
    steps = [
        dict(type="torchvision.transforms.Grayscale", num_output_channels=3),
        dict(type="torchvision.transforms.Resize", size=14, interpolation=4),  # the mean of four pixels
        dict(type="torchvision.transforms.ToTensor"),
        dict(type="torchvision.transforms.Normalize", mean=[0.5], std=[0.5]),
    ]
    images = dict(
        type="kdcls.FashionMNIST",
        split=split,
        transform=dict(type="torchvision.transforms.Compose", transforms=steps),
    )
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=sampler,
        dataset=dict(type="kdhub.TorchDataset", data=images),
        collate_fn=dict(type="default_collate"),
    )


model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.CifarResNet", depth=8, widths=(16, 16, 32, 64), num_classes=10),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
)
train_dataloader = loader("train", 128, dict(type="InfiniteSampler", shuffle=True))
val_dataloader = loader("test", 250, dict(type="DefaultSampler", shuffle=False))
val_evaluator = dict(type="kdhub.Accuracy")
val_cfg = dict()
train_cfg = dict(by_epoch=False, max_iters=1000, val_interval=1000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=1000)
randomness = dict(seed=0)
work_dir = "work_dirs/generation/fashion/classifier"
del loader
