# TRG beside logits; one command: `kdhub train` trains the teacher first, and never again while its config is the same
_base_ = ["kdcls:digits-student"]
train_dataloader = dict(batch_size=64)
steps = 30 * 18  # 1097 images in batches of 64
model = dict(
    objectives=dict(
        trg=dict(
            loss=dict(
                type="kdtrg.TRGLoss",
                in_features=8,
                out_features=64,
                rescale="unit",
                tokens=8,
                draw=dict(type="kdtrg.StepNumber"),
                temperature=dict(type="kdhub.CosineSchedule", start=0.5, end=0.07, steps=steps),
            ),
            # 4 x 4 cells, each a token
            student="features",
            teacher="features",
            adapter=dict(student=dict(type="kdtrg.Tokens"), teacher=dict(type="kdtrg.Tokens")),
            weight=1.0,
        )
    )
)
# beside the base's own
custom_hooks = [dict(type="kdcls.PanelHook"), dict(type="kdtrg.PanelHook")]
del steps
