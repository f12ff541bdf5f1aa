# Photos of six other classes, told apart by a classifier of 24: its student or teacher is given to `kdhub test`
_base_ = ["../classification/caltech24/teacher_efficientnet-lite2_40it_caltech24-128.py"]


def images(root):
    square = dict(type="torchvision.transforms.CenterCrop", size=128)
    to_tensor = dict(type="torchvision.transforms.PILToTensor")
    return dict(
        type="kdhub.TorchDataset",
        data=dict(
            type="kdcls.ImageFolder",
            root=root,
            transform=dict(type="torchvision.transforms.Compose", transforms=[square, to_tensor]),
        ),
    )


test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="kdood.Mixed",
        inside=images("data/caltech24-split/test.zip"),
        outside=images("data/caltech24/ood.zip"),
    )
)
test_evaluator = dict(_delete_=True, type="kdood.OODFigures", score="energy", bootstrap=1000)
del images
