"""Numbers that make no sense are refused, those that do are not."""

import pytest


def put(cfg, path, value):
    """Set the value at a key path, making the dicts on the way."""
    *way, last = path.split(".")
    for part in way:
        cfg = cfg[int(part)] if isinstance(cfg, list) else cfg.setdefault(part, {})
    cfg[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("optim_wrapper.clip_grad.max_norm", -1),  # torch multiplies every gradient by a negative factor
        ("optim_wrapper.clip_grad.max_norm", 0),
        ("optim_wrapper.clip_grad.clip_value", -0.5),
        ("optim_wrapper.accumulative_counts", 0),
        ("optim_wrapper.optimizer.lr", -0.1),
        ("optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult", -1.0),
        ("param_scheduler.0.end_factor", -1e-4),
        ("model.task_weight", -0.5),
        ("model.objectives.logits.weight", float("nan")),
        ("model.objectives.logits.weight.end", -1.0),
        ("model.objectives.triplet.weight", -2),
        ("model.guards.zero_term", -1),
        ("train_cfg.max_epochs", 0),
        ("train_cfg.val_interval", -1),
        ("train_dataloader.batch_size", 0),
        ("val_dataloader.num_workers", -1),
        ("auto_scale_lr.base_batch_size", -16),
        ("log_processor.window_size", -5),
        ("custom_hooks.0.patience", -5),
    ],
)
def test_a_number_without_sense_is_refused(findings, valid, path, value):
    """Each of them trains to the end, exit 0: uphill, away from the teacher, or not at all."""
    if path == "model.objectives.logits.weight":
        valid["model"]["objectives"]["logits"].pop("weight")
    if path == "custom_hooks.0.patience":
        valid["custom_hooks"] = [{"type": "EarlyStoppingHook", "monitor": "accuracy"}]
    put(valid, path, value)
    found = findings(valid)
    assert found[path].level == "error"
    assert "makes no sense" in found[path].message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.task_weight", 0),  # the student learns from the teacher alone
        ("model.objectives.triplet.weight", 0.0),
        ("model.objectives.triplet.weight", {"type": "kdhub.WarmupSchedule", "value": 1.0, "steps": 5, "begin": -1}),
        ("model.guards.zero_term", 0),
        ("param_scheduler.0.last_step", -1),
        ("optim_wrapper.optimizer.lr", 0.0),
        ("default_hooks.checkpoint.interval", -1),  # never
        ("train_cfg.max_epochs", 3.0),
    ],
)
def test_a_number_with_a_meaning_is_accepted(findings, valid, path, value):
    """A rule that refuses what a library documents is in the way of right configs."""
    put(valid, path, value)
    assert findings(valid) == {}
