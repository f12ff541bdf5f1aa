# The teacher answered once for each training text: its logits, and what its classifier reads.
_base_ = ["ag-news-2.py"]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=400, val_interval=400)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=400, eta_min=0.0)]
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
                num_labels=2,
            ),
        ),
    ),
    teacher=dict(
        type="kdhub.StoredTeacher",
        store="work_dirs/ag-news-2/store",
        teacher=dict(
            type="kdhub.ModelTeacher",
            model=dict(
                type="kdhub.TorchModel",
                net=dict(
                    type="transformers.AutoModelForSequenceClassification.from_pretrained",
                    pretrained_model_name_or_path="work_dirs/ag-news-2/teacher/student",
                ),
            ),
            batch="student",
        ),
    ),
    task_weight=0.0,
)
