_base_ = ["_base_/imagenet_224.py"]
model = dict(
    teacher=dict(
        model=dict(net=dict(model_name="resnet34")),
        checkpoint="data/weights/resnet34.safetensors",
    ),
    objectives=dict(
        logits=dict(loss=dict(type="kdhub.TemperatureKL", temperature=1.0), student="fc", teacher="fc", weight=1.0)
    ),
)
