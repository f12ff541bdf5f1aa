def noise_loader(chunk, chunks, sampler, seed=None):
    return dict(
        batch_size=1,
        num_workers=0,
        sampler=sampler,
        dataset=dict(type="kdgen.NoiseDataset", shape=(1, 28, 28), chunk=chunk, chunks=chunks, classes=10, seed=seed),
        collate_fn=dict(type="kdgen.join"),
    )


# one network for all: teacher, fake score and students; the last of 11 labels means none
model = dict(
    type="kdgen.Denoiser",
    net=dict(
        type="diffusers.UNet2DModel",
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        norm_num_groups=8,
        attention_head_dim=16,
        num_class_embeds=11,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    # the schedule that TBCM asks for, so that all methods share one teacher
    noise=dict(type="kdgen.TrigFlowSchedule", time_scale=20.0),
    pred_type="v",
    classes=10,
)
train_dataloader = noise_loader(64, 1000, dict(type="InfiniteSampler", shuffle=False))
val_dataloader = noise_loader(250, 4, dict(type="DefaultSampler", shuffle=False), seed=1)
val_evaluator = dict(
    type="kdgen.ImageQuality",
    data=dict(type="kdgen.Images", data=dict(type="kdcls.FashionMNIST", split="test"), chunk=1000, seed=0),
)
val_cfg = dict()
train_cfg = dict(by_epoch=False, max_iters=4000, val_interval=1000)
custom_hooks = [dict(type="EMAHook", momentum=0.001, begin_iter=500)]
randomness = dict(seed=0)
del noise_loader
