_base_ = ["_base_/ofa_resnet18.py"]
model = dict(
    teacher=dict(
        model=dict(net=dict(model_name="deit_tiny_patch16_224")),
        checkpoint="data/weights/deit_tiny_patch16_224.safetensors",
    ),
)
