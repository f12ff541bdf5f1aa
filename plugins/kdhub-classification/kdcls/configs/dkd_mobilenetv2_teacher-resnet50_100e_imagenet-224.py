# the weights of the authors on ImageNet
_base_ = ["_base_/imagenet_224.py"]
model = dict(
    student=dict(net=dict(model_name="mobilenetv2_100")),
    teacher=dict(
        model=dict(net=dict(model_name="resnet50")),
        checkpoint="data/weights/resnet50.safetensors",
    ),
    objectives=dict(
        logits=dict(
            loss=dict(type="kdcls.DKD", temperature=1.0, alpha=1.0, beta=0.5),
            student="classifier",
            teacher="fc",
            batch=dict(labels="labels"),
        )
    ),
)
