# a class-conditional diffusion teacher: four classes that overlap, so that guidance has something to do
_base_ = ["_base_/ring_noise.py"]
model = dict(
    type="kdgen.Denoiser",
    net=dict(type="kdgen.MLP", width=128, depth=4, classes=4, residual=True),
    noise=dict(type="kdgen.CosineSchedule"),
    pred_type="v",
    classes=4,
    label_dropout=0.15,
    steps=40,
)
ring = dict(modes=4, radius=1.2, std=0.6, classes=4)
train_dataloader = dict(dataset=dict(_delete_=True, type="kdgen.RingData", chunks=256, chunk=256, **ring))
val_dataloader = dict(dataset=dict(classes=4))
val_evaluator = dict(**ring)
train_cfg = dict(max_iters=6000, val_interval=6000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=6000)
del ring
