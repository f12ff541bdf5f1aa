_base_ = ["_base_/ofa_resnet18.py"]
model = dict(
    teacher=dict(
        model=dict(net=dict(model_name="convnext_tiny")),
        checkpoint="data/weights/convnext_tiny.safetensors",
    ),
    objectives=dict(
        logits=dict(teacher="head.fc"),
        **{f"exit{stage}": dict(teacher="head.fc", adapter=dict(width=768)) for stage in (1, 2, 3, 4)},
    ),
)
