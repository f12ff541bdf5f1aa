# A cross-encoder teaches a sparse encoder, as for SPLADE v2: margins of dot products follow the teacher's, and the vectors
# become sparse. The weights of both regularisers rise quadratically over the first third of the run, to those of the
# sentence-transformers example (SPLADE v2's own, 0.5 and 0.4, are for 150,000 steps).
_base_ = ["_base_/cross_cranfield.py"]

rise = 666  # of 2,000 iterations
model = dict(
    type="kdhub.Distiller",
    student=dict(type="kdret.SparseEncoder", model="distilbert/distilbert-base-uncased", max_length=200),
    teacher={{_base_.teacher}},
    objectives=dict(
        margins=dict(loss=dict(type="kdret.MarginMSE"), student="score", teacher="score"),
        flops_query=dict(
            loss=dict(type="kdret.FLOPS"),
            student=dict(type="kdhub.MethodOutput", path="embed", call=0),
            weight=dict(type="kdhub.WarmupSchedule", value=0.1, steps=rise, power=2),
        ),
        flops_document=dict(
            loss=dict(type="kdret.FLOPS"),
            student=dict(type="kdhub.MethodOutput", path="embed", call=1),
            weight=dict(type="kdhub.WarmupSchedule", value=0.08, steps=rise, power=2),
        ),
    ),
)
