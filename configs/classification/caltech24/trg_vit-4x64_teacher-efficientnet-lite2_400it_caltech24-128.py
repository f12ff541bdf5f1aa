# TRG: relations between the patch tokens of a batch, beside plain distillation.
_base_ = ["_base_/caltech24.py", "_base_/vit.py", "_base_/taught.py"]
model = dict(
    type="kdhub.Distiller",
    student={{_base_.student}},
    teacher={{_base_.teacher}},
    objectives=dict(
        logits=dict(
            loss=dict(type="kdhub.TemperatureKL", temperature=4.0), student="head", teacher="classifier", weight=1.0
        ),
        trg=dict(
            loss=dict(
                type="kdtrg.TRGLoss",
                in_features=64,
                out_features=120,
                tokens=8,
                draw=dict(type="kdtrg.StepNumber"),
                temperature=dict(type="kdhub.CosineSchedule", start=0.5, end=0.07, steps=400),
                rescale="unit",
            ),
            student="blocks",
            teacher="blocks.4",
            adapter=dict(student=dict(type="kdtrg.Tokens", prefix=1), teacher=dict(type="kdtrg.Tokens")),
            weight=0.3,
        ),
    ),
)
student = teacher = None
