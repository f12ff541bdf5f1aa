# a student of the teacher's size and random weights; without objectives, and with task_weight=1, it is the student alone
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(
            type="transformers.AutoModelForCausalLM.from_config",
            config=dict(
                type="transformers.GPT2Config",
                vocab_size=1024,
                n_positions=128,
                n_embd=64,
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
                pretrained_model_name_or_path="work_dirs/evidence/ood/teacher/student",
            ),
        ),
        batch="student",
    ),
    objectives=dict(
        prediction=dict(loss=dict(type="kdood.PredictionKD"), student="lm_head", teacher="lm_head"),
        layers=dict(
            loss=dict(type="kdood.AdaptiveLayerKD", teacher_width=64, student_layers=(1, 3), teacher_layers=(1, 4)),
            student=dict(type="kdlm.HiddenStates"),
            teacher=dict(type="kdlm.HiddenStates"),
        ),
    ),
    task_weight=0.0,
)
