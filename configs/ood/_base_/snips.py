# five intents are in distribution, the other two are not
_base_ = ["texts.py"]
texts = dict(type="kdood.Snips", classes=["AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook"])
train_dataloader = dict(dataset=texts)
val_dataloader = dict(dataset=texts)
test_dataloader = dict(dataset=texts)
del texts
