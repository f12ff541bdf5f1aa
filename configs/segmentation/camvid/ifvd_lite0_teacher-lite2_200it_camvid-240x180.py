# A rival of BPKD: the same student and teacher, compared by how alike the features of a class are.
_base_ = ["./bpkd_lite0_teacher-lite2_200it_camvid-240x180.py"]

model = dict(
    objectives=dict(
        _delete_=True,
        rival=dict(
            loss=dict(type="kdseg.IFVD"),
            student="decode_head.fusion_conv",
            teacher="decode_head.fusion_conv",
            weight=20.0,
        ),
    ),
)
