# A rival of BPKD: the same student and teacher, compared channel by channel.
_base_ = ["./bpkd_lite0_teacher-lite2_200it_camvid-240x180.py"]

model = dict(
    objectives=dict(
        _delete_=True,
        rival=dict(
            loss=dict(type="kdseg.ChannelWiseKD"),
            student="decode_head.conv_seg",
            teacher="decode_head.conv_seg",
            # BPKD leaves void pixels out, so its rivals do too
            batch=dict(labels="data_samples.gt_sem_seg.data"),
            weight=10.0,
        ),
    ),
)
