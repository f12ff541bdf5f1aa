# stage 2: a student of the same size and random weights sees text in distribution alone, through the teacher's eyes
_base_ = ["_base_/clinc.py"]
predecessors = dict(teacher="kdood:clinc-teacher")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(
            type="transformers.AutoModelForCausalLM.from_config",
            config=dict(
                type="transformers.GPT2Config",
                vocab_size=2048,
                n_positions=128,
                n_embd=128,
                n_layer=4,
                n_head=4,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
            ),
        ),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model=dict(
            type="kdhub.TorchModel",
            net=dict(
                type="transformers.AutoModelForCausalLM.from_pretrained",
                pretrained_model_name_or_path="@teacher/student",
            ),
        ),
        batch="student",
    ),
    objectives=dict(
        prediction=dict(loss=dict(type="kdood.PredictionKD"), student="lm_head", teacher="lm_head"),
        layers=dict(
            loss=dict(type="kdood.AdaptiveLayerKD", teacher_width=128, student_layers=(1, 3), teacher_layers=(1, 4)),
            student=dict(type="kdlm.HiddenStates"),
            teacher=dict(type="kdlm.HiddenStates"),
        ),
    ),
    task_weight=0.0,  # the authors add the student's own loss for ROSTD and one class of 20 Newsgroups alone
)
train_dataloader = dict(dataset=dict(tokenizer="@teacher/student"))
val_dataloader = dict(dataset=dict(tokenizer="@teacher/student"))
test_dataloader = dict(dataset=dict(tokenizer="@teacher/student"))
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
