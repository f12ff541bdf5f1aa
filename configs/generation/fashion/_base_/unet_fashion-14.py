def noise_loader(chunk, chunks, sampler, seed=None):
    return dict(
        batch_size=1,
        num_workers=0,
        sampler=sampler,
        dataset=dict(type="kdgen.NoiseDataset", shape=(1, 14, 14), chunk=chunk, chunks=chunks, classes=10, seed=seed),
        collate_fn=dict(type="kdgen.join"),
    )


def quality(split):
    images = dict(
        type="kdgen.Images", data=dict(type="kdcls.FashionMNIST", split=split), chunk=10000, seed=0, downscale=2
    )
    return [
        dict(type="kdgen.ImageQuality", data=images),
        dict(
            type="kdgen.ClassifierFrechet",
            data=images,
            classifier=dict(
                type="kdhub.ModelTeacher",
                model="@classifier/student/model.py",
                checkpoint="@classifier/student/model.safetensors",
            ),
            features=dict(type="kdhub.ModuleInput", path="fc"),
            channels=3,
        ),
    ]


predecessors = dict(classifier="classifier_resnet8_1000it_fashion-14.py")
# one network for all: teacher, fake score and students; the last of 11 labels means none
model = dict(
    type="kdgen.Denoiser",
    net=dict(
        type="diffusers.UNet2DModel",
        sample_size=14,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
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
train_dataloader = noise_loader(32, 1000, dict(type="InfiniteSampler", shuffle=False))
# choices are made against training images, which leaves the test images for the last figure
val_dataloader = noise_loader(250, 4, dict(type="DefaultSampler", shuffle=False), seed=1)
val_evaluator = quality("train")
test_dataloader = noise_loader(250, 8, dict(type="DefaultSampler", shuffle=False), seed=2)
test_evaluator = quality("test")
val_cfg, test_cfg = dict(), dict()
train_cfg = dict(by_epoch=False, max_iters=600, val_interval=300)
custom_hooks = [dict(type="EMAHook", momentum=0.005, begin_iter=100)]
randomness = dict(seed=0)
del noise_loader, quality
