# A rival of BPKD: the same student and teacher, compared position by position.
_base_ = ["./bpkd_lite0_teacher-lite2_200it_camvid-240x180.py"]

model = dict(
    objectives=dict(
        _delete_=True,
        rival=dict(
            loss=dict(type="kdseg.PixelKD"),
            student="decode_head.conv_seg",
            teacher="decode_head.conv_seg",
            weight=10.0,
        ),
    ),
)
