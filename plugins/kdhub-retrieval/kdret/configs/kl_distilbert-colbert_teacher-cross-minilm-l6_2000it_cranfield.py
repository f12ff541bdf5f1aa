# A cross-encoder teaches a late-interaction encoder, as for ColBERTv2: the student's distribution over a query's candidates
# follows the teacher's. Vectors of length 1 bound the student's scores, which a divergence minds less than margins do.
_base_ = ["_base_/cross_cranfield.py"]

model = dict(
    type="kdhub.Distiller",
    student=dict(type="kdret.MultiVectorEncoder", model="distilbert/distilbert-base-uncased", max_length=200),
    teacher={{_base_.teacher}},
    objectives=dict(lists=dict(loss=dict(type="kdret.ListwiseKL"), student="score", teacher="score")),
)
