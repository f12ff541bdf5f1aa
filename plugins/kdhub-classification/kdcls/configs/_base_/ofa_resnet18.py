# One-for-All: exit branches after the four stages of a ResNet-18, and the logits, all taught by the teacher's logits
_base_ = ["imagenet_224.py"]
width = 512  # the larger of student's and teacher's width
exits = {
    f"exit{stage}": dict(
        loss=dict(type="kdcls.OFAKD", exponent=1.5),
        student=f"layer{stage}",
        teacher="head",
        adapter=dict(
            type="kdcls.ConvExit",
            in_channels=32 * 2**stage,
            width=width,
            num_classes=1000,
            halvings=4 - stage,
        ),
        batch=dict(labels="labels"),
    )
    for stage in (1, 2, 3, 4)
}
logits = dict(loss=dict(type="kdcls.OFAKD", exponent=1.5), student="fc", teacher="head", batch=dict(labels="labels"))
model = dict(
    student=dict(criterion=dict(label_smoothing=0.1)),
    objectives=dict(**exits, logits=logits),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
del exits, logits, width
