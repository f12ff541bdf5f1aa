# A cross-encoder teaches a dense encoder (BERT_DOT of the Margin-MSE paper): dot products without normalisation, whose
# margins follow the teacher's.
_base_ = ["_base_/cross_cranfield.py"]

model = dict(
    type="kdhub.Distiller",
    student=dict(type="kdret.SentenceEncoder", model="distilbert/distilbert-base-uncased", max_length=200),
    teacher={{_base_.teacher}},
    objectives=dict(margins=dict(loss=dict(type="kdret.MarginMSE"), student="score", teacher="score")),
)
