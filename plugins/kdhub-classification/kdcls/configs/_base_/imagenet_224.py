# ImageNet-1k as folders train/CLASS and val/CLASS in data/imagenet, 8 processes of 64 images, 100 epochs of SGD
def loader(split, batch_size, **transform):
    return dict(
        batch_size=batch_size,
        num_workers=8,
        drop_last=split == "train",
        sampler=dict(type="DefaultSampler", shuffle=split == "train"),
        dataset=dict(
            type="kdhub.TorchDataset",
            data=dict(
                type="kdcls.ImageFolder",
                root=f"data/imagenet/{split}",
                transform=dict(type="timm.data.create_transform", input_size=224, **transform),
            ),
        ),
        collate_fn=dict(type="default_collate"),
    )


train_dataloader = loader("train", 64, is_training=True, color_jitter=None, interpolation="bilinear")
val_dataloader = test_dataloader = loader("val", 64, crop_pct=0.95, interpolation="bicubic")
val_evaluator = test_evaluator = dict(type="kdhub.Accuracy", topk=(1, 5))
val_cfg, test_cfg = dict(), dict()
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[30, 60, 90], gamma=0.1)]
randomness = dict(seed=0)
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="timm.create_model", model_name="resnet18"),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    # weights on the disk: nothing is downloaded. timm.create_model(NAME, pretrained=True).state_dict() saved is such a file
    teacher=dict(type="kdhub.ModelTeacher", model=dict(type="kdhub.TorchModel", net=dict(type="timm.create_model"))),
)
del loader
