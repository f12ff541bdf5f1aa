# EZAD, stage A, as the authors run it: the LayerNorms of CLIP ViT-B/32 on crops of COCO's 48 base classes.
_base_ = ["../../../plugins/kdhub-detection/kddet/configs/_base_/ovd_names.py"]

model = dict(type="kddet.CropClassifier", model="openai/clip-vit-base-patch32", names=_base_.base)
train_dataloader = dict(
    # the authors take all boxes of 2 images, on each of 2 GPUs
    batch_size=64,
    num_workers=4,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="kddet.BoxCrops",
        ann_file="data/coco/annotations/instances_train2017.json",
        images="data/coco/train2017",
        names=_base_.base,
    ),
)
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-4, weight_decay=1e-4), clip_grad=dict(max_norm=0.1)
)
train_cfg = dict(by_epoch=True, max_epochs=12)
randomness = dict(seed=0)
work_dir = "work_dirs/ezad-coco-48-17/adapted"
