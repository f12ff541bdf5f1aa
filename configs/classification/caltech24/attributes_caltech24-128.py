# A job: answers about the training images by their classes, with noise. It takes the place of a language model, which is not here.
job = dict(
    type="kddet.ClassAttributes",
    attributes="configs/classification/caltech24/attributes.txt",
    data=dict(
        type="kdhub.TorchDataset",
        data=dict(
            type="kdcls.LongTail",
            factor=1.0,
            data=dict(type="kdcls.ImageFolder", root="data/caltech24-split/train.zip"),
        ),
    ),
)
work_dir = "work_dirs/caltech24/attributes"
