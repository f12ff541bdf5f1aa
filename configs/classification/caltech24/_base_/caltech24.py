# Caltech-24 at 128 pixels for half a minute on one core: data, metrics, optimizer. `make data/caltech24-split` makes the files.
# Training data of a long tail: train_dataloader.dataset.data.factor=20
def images(split, *transforms):
    to_tensor = dict(type="torchvision.transforms.PILToTensor")
    return dict(
        type="kdcls.ImageFolder",
        root=f"data/caltech24-split/{split}.zip",
        transform=dict(type="torchvision.transforms.Compose", transforms=[*transforms, to_tensor]),
    )


def loader(dataset, **options):
    return dict(
        batch_size=64,
        num_workers=0,
        dataset=dict(type="kdhub.TorchDataset", data=dataset),
        collate_fn=dict(type="default_collate"),
        **options,
    )


# the crops that ImageNet is trained with: 8 to 100 % of the area
crop = dict(type="torchvision.transforms.RandomResizedCrop", size=128)
flip = dict(type="torchvision.transforms.RandomHorizontalFlip")
# factor 1: 40 images of each class, as many as the smallest has
train_data = dict(type="kdcls.LongTail", factor=1.0, data=images("train", crop, flip))
train_dataloader = loader(train_data, drop_last=True, sampler=dict(type="DefaultSampler", shuffle=True))
val_dataloader = loader(images("val"), sampler=dict(type="DefaultSampler", shuffle=False))
test_dataloader = loader(images("test"), sampler=dict(type="DefaultSampler", shuffle=False))
# `train` is the number of images of each class where that differs: it parts classes of many, medium and few images
val_evaluator = test_evaluator = dict(type="kdcls.ClassReport", topk=(1, 5), many=15, few=6, train=None)
val_cfg, test_cfg = dict(), dict()

iterations = 400
train_cfg = dict(by_epoch=False, max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.05))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=40, end=iterations, T_max=iterations - 40, eta_min=0.0),
]
randomness = dict(seed=0)
del images, loader, crop, flip, train_data, iterations
