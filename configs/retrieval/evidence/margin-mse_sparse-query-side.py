# A sparse student: the query side of SPLADE-tiny, which has two layers to begin with.
_base_ = ["_base_/query_side.py"]

model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdret.SparseEncoder",
        model="data/evidence/models/sparse",
        freeze=["bert.embeddings.word_embeddings"],
        dropout=0.0,
        score_scale=0.2,  # the reciprocal of the deviation of its teacher's scores within a list
        frozen_documents=True,
        document_vectors="data/evidence/vectors",
    ),
    objectives=dict(scores=dict(loss=dict(type="kdret.MarginMSE"), student="score", batch=dict(labels="labels"))),
)
