# The teacher of all pairs: it answered once for four augmentations of each image, and every run learns from these
teacher_model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.EfficientNetLite", name="tf_efficientnet_lite2", num_classes=24, frozen=True),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3),
)
teacher = dict(
    type="kdhub.StoredTeacher",
    store="work_dirs/caltech24/store",
    draws=4,
    precision={"classifier": "float32", "global_pool": "float16", "blocks.2": "float16", "blocks.4": "float16"},
    teacher=dict(
        type="kdhub.ModelTeacher",
        model=teacher_model,
        checkpoint="work_dirs/caltech24/teacher/student/model.safetensors",
    ),
)
del teacher_model
