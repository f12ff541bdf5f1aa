_base_ = ["_base_/docstrings.py"]
model = dict(
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
)  # no criterion: the model computes its loss from the labels
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
