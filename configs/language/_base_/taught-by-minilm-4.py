# hidden states of a live teacher; the logits are distilled too
_base_ = ["snips.py"]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=160, val_interval=160)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=160, eta_min=0.0)]
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(
            type="transformers.AutoModelForSequenceClassification.from_config",
            config=dict(
                type="transformers.BertConfig",
                vocab_size=30522,
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=256,
                num_labels=7,
            ),
        ),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model=dict(
            type="kdhub.TorchModel",
            net=dict(
                type="transformers.AutoModelForSequenceClassification.from_pretrained",
                pretrained_model_name_or_path="work_dirs/snips/teacher/student",
            ),
        ),
        batch="student",
    ),
    objectives=dict(
        logits=dict(loss=dict(type="kdhub.TemperatureKL", temperature=1.0), student="classifier", teacher="classifier")
    ),
    task_weight=1.0,
)
