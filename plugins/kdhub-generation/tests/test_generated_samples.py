"""Samplers, pictures and the command that writes them."""

import pytest
import safetensors.torch
import torch
from mmengine.registry import MODELS

from kdgen.commands.sample import load_student, main
from kdgen.export import export_student
from kdgen.metrics import EndpointError, RingQuality, ring_quality, sliced_wasserstein
from kdgen.pictures import picture
from kdgen.ring import Ring
from kdgen.sampling import ddim, samples_per_second
from kdgen.toys import exact_teacher, student
from kdhub import UsageError
from kdhub.config import load_config
from kdhub.engine.train import train


def test_ddim_with_the_exact_score_ends_on_the_ring():
    """A sampler with a wrong factor ends near the ring as well, only a little off: the distance tells."""
    noise = {"type": "kdgen.CosineSchedule"}
    model = MODELS.build(exact_teacher(noise=noise)["model"])
    points = ddim(model, torch.randn(2000, 2), None, model.noise.t_list(50))
    figures = ring_quality(points, torch.zeros(2000, dtype=torch.long), Ring())
    assert figures["modes"] == 8
    assert figures["within"] > 95
    assert figures["sliced_w2"] < 0.2


def test_one_step_is_what_the_student_learns():
    """The sampler of the evaluation and the generator of the training must be one function."""
    model = MODELS.build(student())
    noise = torch.randn(5, 2)
    assert torch.equal(ddim(model, noise, None, model.t_list), model.generate(noise).detach())
    assert torch.equal(model(noise), model.generate(noise).detach())


@pytest.mark.parametrize(
    ("noise", "times", "std"),
    [
        ({"type": "kdgen.EDMSchedule"}, [2.5], 2.5),
        ({"type": "kdgen.EDMSchedule"}, None, 80.0),
        ({"type": "kdgen.TrigFlowSchedule", "prior_std": 0.5}, [1.2], 0.5),
        ({"type": "kdgen.DDPMSchedule"}, [950], 1.0),
    ],
)
def test_the_noise_is_of_the_size_of_the_time_that_is_told(noise, times, std, monkeypatch):
    """A network that was told sigma 2.5 saw noise of 80, in training and in sampling: an input that its teacher never met."""
    model = MODELS.build(student(noise=noise, t_list=times))
    seen = []
    monkeypatch.setattr(model.net, "forward", lambda x, t, labels: seen.append(x.detach()) or x)
    unit = torch.randn(5, 2)
    model.generate(unit)
    model(unit)
    for given in seen:
        torch.testing.assert_close(given, std * unit)
    assert len(seen) == 2


def test_the_speed_is_that_of_whole_samplers(monkeypatch):
    """A first pass that loads kernels, or a sampler of one step in the place of ten, is another figure."""
    model = MODELS.build(student())
    calls, clock = [], iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0, 30.0, 34.0])
    monkeypatch.setattr(model.net, "forward", lambda x, t, labels: calls.append(t) or x)
    monkeypatch.setattr("kdgen.sampling.time.perf_counter", lambda: next(clock))
    found = samples_per_second(model, torch.randn(8, 2), None, model.noise.t_list(10), passes=3)
    assert found == 8 / 2  # passes of 2, 1 and 4 seconds; the first, of 9, does not count
    assert len(calls) == 4 * 10


def test_guidance_moves_away_from_the_unconditional_prediction():
    """Uncond + w (cond - uncond): with w = 1 the conditional one, with w = 0 the other."""
    model = MODELS.build(exact_teacher(4)["model"])
    x, t, labels = torch.randn(6, 2), torch.full((6,), 0.5), torch.arange(6) % 4
    with_label, without = model.predict(x, t, labels), model.predict(x, t)
    scales = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    expected = without + scales[:, None] * (with_label - without)
    assert torch.allclose(model.predict(x, t, labels, guidance_scale=scales), expected, atol=1e-6)
    assert torch.allclose(model.predict(x, t, labels, guidance_scale=2.0)[2], expected[2], atol=1e-6)


def test_the_sliced_distance_by_hand():
    """Moved by d, points are d / sqrt(2) away on average over directions: 1 / sqrt(2) in the plane."""
    points = torch.randn(500, 2)
    assert sliced_wasserstein(points, points) == 0
    moved = sliced_wasserstein(points, points + torch.tensor([1.0, 0.0]), projections=4000)
    assert moved == pytest.approx(0.5**0.5, abs=0.02)
    with pytest.raises(UsageError, match="shape"):
        sliced_wasserstein(points, points[:3])


def test_lost_modes_are_counted():
    """An average distance hides that half of the modes are gone."""
    ring = Ring(modes=8)
    points = ring.means[torch.arange(400) % 4] + 0.1 * torch.randn(400, 2)
    figures = ring_quality(points, torch.zeros(400, dtype=torch.long), ring)
    assert figures["modes"] == 4


@pytest.mark.parametrize("metric", [RingQuality(), EndpointError()], ids=["ring", "endpoint"])
def test_all_samples_of_a_chunk_count(metric):
    """An evaluator of mmengine keeps one result an item, and an item is a chunk: two samples of 800 would be judged."""
    points = Ring().sample(800)
    for chunk in points.chunk(2):
        metric.process(None, [{"sample": one, "target": one} for one in chunk[:-1]])
        metric.process(None, [{"sample": chunk[-1], "target": chunk[-1] + 20.0}])
    found = metric.evaluate(size=4)
    if "rmse" in found:
        assert found["rmse"] == pytest.approx(1.0)  # 2 of 800 are 20 away: (2 * 400 / 800) ** 0.5
    else:
        assert found["modes"] == 8
        assert found == ring_quality(torch.cat([points]), torch.zeros(800, dtype=torch.long), Ring())


def test_pictures():
    """A grid with lost samples, or values of -1 to 1 taken for 0 to 1, shows a student that nobody has."""
    images = torch.full((5, 1, 4, 6), -1.0)
    images[4] = 1.0
    grid = picture(images)
    assert grid.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
    assert int(grid[2, 2, 0]) == 0
    assert int(grid[8, 10, 0]) == 255
    assert int((picture(torch.tensor([[0.0, 0.0], [9.0, 9.0]]))[..., 0] == 0).sum()) == 8
    with pytest.raises(UsageError, match="picture"):
        picture(torch.zeros(3, 4, 8, 8))


def test_the_command_samples_from_what_a_run_left(tmp_path, capsys):
    """Weights that the command cannot find again, or noise that differs between calls, make pictures that show nothing."""
    cfg = load_config("kdgen:ring-teacher", ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "model.steps=2"])
    cfg.work_dir = str(tmp_path / "run")
    train(cfg)
    assert main([str(tmp_path / "run"), "-n", "9", "--speed", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "9 samples in 2 steps" in said
    assert "samples a second, 9 at once on cpu" in said
    samples = safetensors.torch.load_file(tmp_path / "out" / "samples.safetensors")["samples"]
    model, shape = load_student(tmp_path / "run")
    noise = torch.randn(9, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(samples, ddim(model.eval(), noise, None, model.t_list))
    assert (tmp_path / "out" / "samples.png").read_bytes()[:4] == b"\x89PNG"
    for wrong in (["--label", "1"], ["--guidance-scale", "3"], ["-n", "0"]):
        with pytest.raises(UsageError):
            main([str(tmp_path / "run"), *wrong])
    with pytest.raises(UsageError, match="no trained student"):
        main([str(tmp_path)])


def test_students_of_diffusers_load_without_kdhub(tmp_path):
    """Plain diffusers must load the student; and its network is asked with times and labels in diffusers' order."""
    diffusers = pytest.importorskip("diffusers")
    net = {
        "type": "diffusers.UNet2DModel",
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "num_class_embeds": 4,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
    }
    noise = {"type": "kdgen.DDPMSchedule", "beta_schedule": "squaredcos_cap_v2"}
    model = MODELS.build({"type": "kdgen.Denoiser", "net": net, "noise": noise, "classes": 3}).eval()
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    line = export_student(model.kdhub_inner, tmp_path, {})
    assert line == "diffusers.UNet2DModel.from_pretrained('student')"
    loaded = diffusers.UNet2DModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        theirs = loaded(x, torch.tensor([500.0, 500.0]), class_labels=labels).sample
        ours = model.predict(x, torch.tensor([500.0, 500.0]), labels, to="eps")
        trained = model(x, labels, mode="loss")["loss_denoising"]
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert trained.isfinite()
    assert export_student(torch.nn.Linear(1, 1), tmp_path, {}) is None
