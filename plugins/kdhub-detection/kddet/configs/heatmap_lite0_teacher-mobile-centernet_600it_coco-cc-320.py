# A detector with real weights teaches a small student where the objects' centres are.
_base_ = ["lite0_600it_coco-cc-320.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student={{_base_.model}},
    teacher=dict(
        type="kdhub.ModelTeacher",
        model=dict(type="kddet.MobileCenterNet", file="data/mobile-centernet/centernet.json", scale=1.6),
        # they come with the file
        own_weights=True,
    ),
    objectives=dict(
        centres=dict(
            loss=dict(type="kddet.HeatMapKD"), student="bbox_head.heatmap_head", teacher="heat_map", weight=1.0
        ),
    ),
)
