_base_ = ["_base_/taught-by-store.py"]
model = dict(
    objectives=dict(
        logits=dict(loss=dict(type="kdhub.TemperatureKL", temperature=2.0), student="classifier", teacher="classifier")
    )
)
