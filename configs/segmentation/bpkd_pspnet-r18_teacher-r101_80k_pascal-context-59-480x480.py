_base_ = ["students/pspnet_r18-d8_4xb4-80k_pascal-context-59-480x480.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::pspnet/pspnet_r101-d8_4xb4-80k_pascal-context-59-480x480.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_480x480_80k_pascal_context_59/pspnet_r101-d8_480x480_80k_pascal_context_59_20210416_114418-fa6caaa2.pth",
    ),
    objectives=_base_.objectives,
)
