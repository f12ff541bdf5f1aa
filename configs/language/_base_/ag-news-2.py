# two classes of news that are easily taken for each other
_base_ = ["classification.py"]
texts = dict(type="kdood.AGNews", classes=["Business", "Sci/Tech"])
train_dataloader = dict(dataset=texts)
val_dataloader = dict(dataset=texts)
test_dataloader = dict(dataset=texts)
del texts
