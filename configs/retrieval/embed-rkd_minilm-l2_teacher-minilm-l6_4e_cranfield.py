# The student and teacher of the docstring recipe on Cranfield, which has 1,400 documents and only 120 training queries:
# no judgement is used, the texts themselves are taught. Documents that are searched later are among them (transductive),
# queries of the split `dev` are not. Prepare the data with: python tools/prepare_data.py cranfield
_base_ = ["embed-kl_minilm-l2_teacher-minilm-l6_180it_docstrings.py"]

max_length = 128
data_root = "data/cranfield"
epochs = 4

embeddings = {{_base_.embeddings}}
model = dict(
    student=dict(max_length=max_length, task_loss=None),
    task_weight=1.0,
    teacher=dict(model=dict(max_length=max_length)),
    objectives=dict(
        _delete_=True,
        embedding=dict(loss=dict(type="kdret.EmbeddingDistill"), student=embeddings, teacher=embeddings),
        relations=dict(loss=dict(type="kdhub.Relational"), student=embeddings, teacher=embeddings, weight=1.0),
    ),
)

train_dataloader = dict(
    sampler=dict(_delete_=True, type="DefaultSampler", shuffle=True),
    dataset=dict(_delete_=True, type="kdret.Texts", data_root=data_root, queries="train"),
)
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=epochs, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=True, begin=0, end=0.4, convert_to_iter_based=True),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=True, begin=0, end=epochs, convert_to_iter_based=True),
]

val_dataloader = dict(
    dataset=dict(_delete_=True, type="kdret.RetrievalSplit", data_root=data_root, split="dev", corpus="all")
)
test_dataloader = val_dataloader
val_evaluator = dict(measures=["nDCG@10", "MRR@10", "recall@10", "recall@100"])
test_evaluator = val_evaluator
