# A student of another width, and of another origin, than its teacher: a learned map brings its embeddings to the teacher's 384 dimensions
# for the embedding term (EmbedDistill); the ranking of the batch needs no common width. The map is dropped with the teacher.
# The student comes from the Hugging Face hub. No number of this config has been measured; a test trains it with a tiny random model.
_base_ = ["embed-kl_minilm-l2_teacher-minilm-l6_180it_docstrings.py"]

embeddings = {{_base_.embeddings}}
model = dict(
    student=dict(model="google/bert_uncased_L-2_H-128_A-2", layers=None),
    objectives=dict(
        embedding=dict(
            loss=dict(type="kdret.EmbeddingDistill"),
            student=embeddings,
            teacher=embeddings,
            adapter=[dict(type="kdhub.Linear", in_features=128, out_features=384)],
        )
    ),
)
