# Correlation of the two necks, of 96 and of 128 channels.
_base_ = ["mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_s_8xb32-300e_coco/rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth",
    ),
    objectives=dict(
        neck=dict(
            loss=dict(type="kddet.PKD"),
            student="neck",
            teacher="neck",
            adapter=dict(
                type="kdhub.EachLevel", levels=[dict(type="kdhub.Conv1x1", in_channels=96, out_channels=128)] * 3
            ),
            weight=6.0,
        )
    ),
)
