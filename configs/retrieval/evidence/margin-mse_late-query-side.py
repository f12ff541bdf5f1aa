# A late-interaction student of two layers, beside documents of six. The projection to 128 dimensions is the one that was drawn when the
# model was saved: it keeps MiniLM's inner products roughly, and trains on the query side.
_base_ = ["_base_/query_side.py"]

model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdret.MultiVectorEncoder",
        model="data/evidence/models/late",
        layers=[0, 5],
        freeze=["embeddings.word_embeddings"],
        dropout=0.0,
        score_scale=1.0,  # MaxSim adds up cosines over some 20 tokens
        frozen_documents=True,
        document_vectors="data/evidence/vectors",
    ),
    objectives=dict(scores=dict(loss=dict(type="kdret.MarginMSE"), student="score", batch=dict(labels="labels"))),
)
