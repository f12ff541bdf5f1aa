_base_ = ["mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_80k_cityscapes/pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth",
    ),
    objectives=_base_.objectives,
)
