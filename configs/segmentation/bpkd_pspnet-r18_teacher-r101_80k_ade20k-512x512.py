_base_ = ["students/pspnet_r18-d8_4xb2-80k_ade20k-512x512.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::pspnet/pspnet_r101-d8_4xb4-160k_ade20k-512x512.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x512_160k_ade20k/pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f.pth",
    ),
    objectives=_base_.objectives,
)
