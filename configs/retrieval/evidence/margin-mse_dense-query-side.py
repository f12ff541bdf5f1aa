# A dense student of two layers, beside documents of six.
_base_ = ["_base_/query_side.py"]

model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdret.SentenceEncoder",
        model="data/evidence/models/dense",
        layers=[0, 5],
        freeze=["embeddings.word_embeddings"],
        dropout=0.0,
        score_scale=12.0,  # the reciprocal of the deviation of its teacher's scores within a list
        frozen_documents=True,
        document_vectors="data/evidence/vectors",
    ),
    objectives=dict(scores=dict(loss=dict(type="kdret.MarginMSE"), student="score", batch=dict(labels="labels"))),
)
