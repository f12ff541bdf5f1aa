# the teacher of all students here; it runs in a folder of its own, which they share
_base_ = ["_base_/unet_fashion-28.py"]
model = dict(label_dropout=0.1, steps=20)
train_dataloader = dict(
    dataset=dict(_delete_=True, type="kdgen.Images", data=dict(type="kdcls.FashionMNIST", split="train"), chunk=64)
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=4000)
work_dir = "work_dirs/generation/fashion/teacher"
