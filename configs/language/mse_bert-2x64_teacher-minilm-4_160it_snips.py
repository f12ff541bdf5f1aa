# the same pairs of layers as MI-α's, each student layer brought to the teacher's width by a linear map
_base_ = ["_base_/taught-by-minilm-4.py"]


def pair(teacher, student):
    return dict(
        loss=dict(type="kdhub.MSE", axis=2),
        student=dict(type="kdlm.HiddenStates", key=student),
        teacher=dict(type="kdlm.HiddenStates", key=teacher),
        adapter=dict(type="kdhub.Linear", in_features=64, out_features=384),
        batch=dict(mask="inputs.attention_mask"),
    )


model = dict(objectives=dict(embeddings=pair(0, 0), middle=pair(2, 1), last=pair(4, 2)))
del pair
