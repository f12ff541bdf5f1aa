# the teacher of all students here; it runs in a folder of its own, which they share
_base_ = ["_base_/unet_fashion-14.py"]
model = dict(label_dropout=0.1, steps=20)
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type="kdgen.Images", data=dict(type="kdcls.FashionMNIST", split="train"), chunk=64, downscale=2
    )
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=2000)
train_cfg = dict(max_iters=2000, val_interval=1000)
custom_hooks = [dict(type="EMAHook", momentum=0.002, begin_iter=500)]
work_dir = "work_dirs/generation/fashion/teacher"
