# EZAD, stage A, with the stand-in for an image-text model: a projection from ImageNet features to text embeddings, on crops of base
# boxes. With CLIP: --cfg-options model.model=FOLDER train_dataloader.dataset.size=224 model.finetune_loss=bce
# optim_wrapper.optimizer.lr=1e-4
_base_ = ["_base_/ovd_names.py"]

model = dict(type="kddet.CropClassifier", model="lite2+minilm", names=_base_.base, finetune_loss="ce")
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="kddet.BoxCrops",
        ann_file="data/coco_cc/train/instances.json",
        images="data/coco_cc/train",
        names=_base_.base,
        size=128,
    ),
)
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4), clip_grad=dict(max_norm=0.1)
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=300)
randomness = dict(seed=0)
work_dir = "work_dirs/ezad-coco-cc/adapted"
