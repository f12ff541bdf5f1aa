_base_ = ["students/fcn_hr18s_4xb4-80k_pascal-context-59-480x480.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::hrnet/fcn_hr48_4xb4-80k_pascal-context-59-480x480.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/hrnet/fcn_hr48_480x480_80k_pascal_context_59/fcn_hr48_480x480_80k_pascal_context_59_20210411_003240-3ae7081e.pth",
    ),
    objectives=_base_.objectives,
)
