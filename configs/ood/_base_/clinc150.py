# requests of 150 intents are in distribution, requests of none are not
_base_ = ["texts.py"]
texts = dict(type="kdood.CLINC150")
train_dataloader = dict(dataset=texts)
val_dataloader = dict(dataset=texts)
test_dataloader = dict(dataset=texts)
del texts
