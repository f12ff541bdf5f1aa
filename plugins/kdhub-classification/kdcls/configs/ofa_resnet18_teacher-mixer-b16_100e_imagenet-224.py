_base_ = ["_base_/ofa_resnet18.py"]
model = dict(
    teacher=dict(
        model=dict(net=dict(model_name="mixer_b16_224")),
        checkpoint="data/weights/mixer_b16_224.safetensors",
    ),
    objectives={f"exit{stage}": dict(adapter=dict(width=768)) for stage in (1, 2, 3, 4)},
)
