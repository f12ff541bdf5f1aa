_base_ = ["students/isanet_r18-d8_4xb2-80k_cityscapes-512x1024.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::isanet/isanet_r101-d8_4xb2-80k_cityscapes-512x1024.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/isanet/isanet_r101-d8_512x1024_80k_cityscapes/isanet_r101-d8_512x1024_80k_cityscapes_20210901_145243-5b99c9b2.pth",
    ),
    objectives=_base_.objectives,
)
