# a small diffusion teacher, trained on points
_base_ = ["_base_/ring_noise.py"]
model = dict(
    type="kdgen.Denoiser",
    net=dict(type="kdgen.MLP"),
    noise=dict(type="kdgen.CosineSchedule"),
    pred_type="v",
    steps=50,
)
train_dataloader = dict(dataset=dict(_delete_=True, type="kdgen.RingData", chunks=256, chunk=256, modes=8))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=3000)
