# the CIFAR-100 protocol of RepDistiller: 240 epochs of SGD. Files in data/cifar100; `download=True` in `data` fetches them
mean, std = [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]


def loader(train, *augment):
    return dict(
        batch_size=64 if train else 256,
        num_workers=2,
        sampler=dict(type="DefaultSampler", shuffle=train),
        dataset=dict(
            type="kdhub.TorchDataset",
            data=dict(
                type="torchvision.datasets.CIFAR100",
                root="data/cifar100",
                train=train,
                download=False,
                transform=dict(
                    type="torchvision.transforms.Compose",
                    transforms=[
                        *augment,
                        dict(type="torchvision.transforms.ToTensor"),
                        dict(type="torchvision.transforms.Normalize", mean=mean, std=std),
                    ],
                ),
            ),
        ),
        collate_fn=dict(type="default_collate"),
    )


train_dataloader = loader(
    True,
    dict(type="torchvision.transforms.RandomCrop", size=32, padding=4),
    dict(type="torchvision.transforms.RandomHorizontalFlip"),
)
val_dataloader = test_dataloader = loader(False)
val_evaluator = test_evaluator = dict(type="kdhub.Accuracy", topk=(1, 5))
val_cfg, test_cfg = dict(), dict()
train_cfg = dict(by_epoch=True, max_epochs=240, val_interval=10)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[150, 180, 210], gamma=0.1)]
randomness = dict(seed=0)
del loader
