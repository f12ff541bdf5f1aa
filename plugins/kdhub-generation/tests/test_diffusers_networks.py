"""Networks of diffusers as teachers and students: text-conditioned U-Nets and DiTs, tiny and random, and folders of pipelines."""

import json
import shutil
import sys

import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import save_file

from kdgen.export import export_student
from kdgen.methods.agd import AGD
from kdgen.methods.score import SwiftBrush
from kdgen.toys import optimizers
from kdhub import UsageError
from kdhub.config import load_config

diffusers = pytest.importorskip("diffusers")

DDPM = {"type": "kdgen.DDPMSchedule", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SHAPE = (4, 8, 8)
UNET = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 8),
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
DIT = {
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "sample_size": 8,
    "norm_num_groups": 4,
    "num_embeds_ada_norm": 3,
}


@pytest.fixture
def prompts(tmp_path):
    """Three encoded prompts and the empty one."""
    save_file({"prompts": torch.randn(4, 5, 12)}, tmp_path / "prompts.safetensors")
    return str(tmp_path / "prompts.safetensors")


def text_denoiser(prompts, **more):
    """A tiny network that is told texts."""
    net = {
        "type": "kdgen.TextConditioned",
        "net": {"type": "diffusers.UNet2DConditionModel", **UNET},
        "prompts": prompts,
    }
    return {"type": "kdgen.Denoiser", "net": net, "noise": DDPM, "pred_type": "eps", "classes": 3, **more}


def dit_denoiser(**more):
    """A tiny DiT with learned variances."""
    net = {"type": "diffusers.DiTTransformer2DModel", **DIT}
    return {"type": "kdgen.Denoiser", "net": net, "noise": DDPM, "pred_type": "eps", "classes": 3, **more}


def teacher_of(denoiser):
    """The teacher with such a model."""
    return {"type": "kdhub.ModelTeacher", "own_weights": True, "model": denoiser}


def test_a_prompt_is_a_label(prompts):
    """The tokens of another prompt give a plausible image of something else."""
    model = MODELS.build(text_denoiser(prompts)).eval()
    table = model.net.prompts
    x, t, labels = torch.randn(3, *SHAPE), torch.full((3,), 500.0), torch.tensor([2, 0, 1])
    with torch.no_grad():
        theirs = model.kdhub_inner.kdhub_inner(x, t, encoder_hidden_states=table[labels]).sample
        empty = model.kdhub_inner.kdhub_inner(x, t, encoder_hidden_states=table[3:].expand(3, -1, -1)).sample
        assert torch.allclose(model.predict(x, t, labels), theirs, atol=1e-6)
        assert torch.allclose(model.predict(x, t), empty, atol=1e-6)


@pytest.mark.parametrize("kind", ["text", "dit"])
def test_a_step_of_swiftbrush_and_a_student_that_diffusers_loads(tmp_path, prompts, kind):
    """The student must be a folder of diffusers' own, with neither prompts nor teacher nor fake score in it."""
    pytest.importorskip("peft")
    denoiser = text_denoiser(prompts) if kind == "text" else dit_denoiser()
    lora = {"target_modules": ["to_q", "to_v"], "rank": 2, "alpha": 4}
    model = SwiftBrush(denoiser, teacher_of(denoiser), lora=lora, guidance_scale=4.5, student_init="teacher")
    assert all("lora_" in name for name, one in model.fake_score.named_parameters() if one.requires_grad)
    before = {name: value.clone() for name, value in model.student.state_dict().items()}
    batch = {"inputs": torch.randn(2, *SHAPE), "labels": torch.tensor([0, 2])}
    wrappers = optimizers(model, 0.1)
    # at first both scores agree; LoRA's gradient reaches its other half a step later
    for _ in range(3):
        logs = model.train_step(batch, wrappers)
    assert all(value.isfinite() for value in logs.values())
    assert any(not torch.equal(value, before[name]) for name, value in model.student.state_dict().items())
    net = model.student.kdhub_inner
    net = getattr(net, "kdhub_inner", net)
    folder = tmp_path / "student"
    folder.mkdir()
    assert (
        export_student(net, folder, {"model": {"type": "kdgen.SwiftBrush", "student": denoiser}})
        == f"diffusers.{type(net).__name__}.from_pretrained('student')"
    )
    assert load_config(folder / "model.py").model.pred_type == "eps"
    loaded = type(net).from_pretrained(folder)
    pairs = zip(loaded.parameters(), net.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_dit_drops_no_labels_by_itself():
    """In training it would tell a tenth of the students another class than the teacher's."""
    model = MODELS.build(dit_denoiser()).train()
    x, t, labels = torch.randn(64, *SHAPE), torch.full((64,), 10.0), torch.zeros(64, dtype=torch.long)
    with torch.no_grad():
        for one in model.net.parameters():
            torch.nn.init.normal_(one, std=0.3)
        assert torch.equal(model.predict(x, t, labels), model.predict(x, t, labels))


@pytest.mark.parametrize("kind", ["text", "dit"])
def test_adapters_hang_on_attention(prompts, kind):
    """AGD's adapters sit at the blocks that the paper names, and hear what the network's own embedders say."""
    if kind == "text":
        denoiser, at, hears = text_denoiser(prompts), "*.attn2", {"time": "net.time_embedding", "condition": "told"}
    else:
        inside = "transformer_blocks.0.norm1.emb."
        denoiser, at = dit_denoiser(), "*.attn1"
        hears = {"time": f"{inside}timestep_embedder", "condition": f"{inside}class_embedder"}
    design = "attention" if kind == "text" else "offset"
    adapters = {"at": at, "width": 8, "design": design, **hears}
    own = {**denoiser, "type": "kdgen.GuidedDenoiser", "adapters": adapters}
    model = AGD(own, teacher_of(denoiser))
    batch = {
        "inputs": torch.randn(2, *SHAPE),
        "labels": torch.tensor([0, 2]),
        "times": torch.tensor([10.0, 500.0]),
        "guidance": torch.tensor([1.0, 4.0]),
        "targets": torch.randn(2, *SHAPE),
    }
    with torch.no_grad():  # a DiT begins with blocks that are shut
        for one in model.student.net.parameters():
            torch.nn.init.normal_(one, std=0.2)
    asked = (batch["inputs"], batch["times"], batch["labels"])
    alone = model.student.predict_unguided(*asked)
    assert torch.equal(model.student.predict(*asked, guidance_scale=4.0), alone)
    hears = [one.condition.weight for one in model.student.adapters.blocks.values()]
    before = [one.detach().clone() for one in hears]
    wrappers = optimizers(model, 0.5)
    for _ in range(2):
        model.train_step(batch, wrappers)
    assert not torch.equal(model.student.predict(*asked, guidance_scale=4.0), alone)
    assert not all(torch.equal(one, other) for one, other in zip(hears, before, strict=True))


def saved_pipeline(folder, prediction="epsilon"):
    """Write what a pipeline of diffusers writes of a DiT."""
    diffusers.DiTTransformer2DModel(**DIT).save_pretrained(folder / "transformer")
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    scheduler.register_to_config(prediction_type=prediction)
    scheduler.save_pretrained(folder / "scheduler")
    return scheduler


def test_a_pipelines_folder_says_all(tmp_path):
    """Read by hand, a schedule or prediction type that is not the pipeline's gives noise that looks like a bad teacher."""
    scheduler = saved_pipeline(tmp_path, "v_prediction")
    model = MODELS.build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path)})
    assert (model.pred_type, model.classes) == ("v", 3)
    t = torch.tensor([3.0, 500.0])
    assert torch.allclose(model.noise.alpha(t).square(), scheduler.alphas_cumprod[t.long()], atol=1e-6)
    theirs = diffusers.DiTTransformer2DModel.from_pretrained(tmp_path / "transformer")
    assert torch.equal(model.net.pos_embed.proj.weight, theirs.pos_embed.proj.weight)


def test_a_folder_that_does_not_fit_is_refused(tmp_path, prompts):
    """Each of these would sample, and badly, with nobody to say why."""
    build = MODELS.build
    with pytest.raises(UsageError, match="no pipeline"):
        build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path)})
    saved_pipeline(tmp_path)
    with pytest.raises(UsageError, match="does not fit the teacher"):
        build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path), "pred_type": "v"})
    config = tmp_path / "scheduler" / "scheduler_config.json"
    own = json.loads(config.read_text())
    for wrong in (
        {"beta_schedule": "sigmoid"},
        {"prediction_type": "flow_prediction"},
        {"rescale_betas_zero_snr": True},
        {"use_flow_sigmas": True},
    ):
        config.write_text(json.dumps({**own, **wrong}))
        with pytest.raises(UsageError, match=rf"does not have this schedule.*{next(iter(wrong))}"):
            build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path)})
    config.write_text(json.dumps(own))
    kind = tmp_path / "transformer" / "config.json"
    known = kind.read_text()
    kind.write_text(known.replace("DiTTransformer2DModel", "DiTTransformer2DModle"))
    with pytest.raises(UsageError, match=r"no network of this name.*DiTTransformer2DModel"):
        build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path)})
    kind.write_text(known)
    (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UsageError, match="weights of the network cannot be read"):
        build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path)})
    save_file({"prompts": torch.randn(4, 5, 13)}, tmp_path / "wide.safetensors")
    with pytest.raises(UsageError, match="do not fit the network"):
        build(text_denoiser(str(tmp_path / "wide.safetensors")))
    with pytest.raises(UsageError, match="no encoded prompts"):
        build(text_denoiser(str(tmp_path / "none.safetensors")))


def saved_unet(folder, kind, **more):
    """Write what a pipeline of diffusers writes of a U-Net."""
    saved_pipeline(folder)
    shutil.rmtree(folder / "transformer")
    kind(**more).save_pretrained(folder / "unet")
    return {"type": "kdgen.PipelineDenoiser", "path": str(folder)}


def test_a_u_net_is_asked_how_many_classes_it_has(tmp_path):
    """Ten classes without one for none were taken for nine, and guidance started from the tenth class."""
    unet = {name: UNET[name] for name in ("sample_size", "layers_per_block", "block_out_channels", "norm_num_groups")}
    unet |= {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "num_class_embeds": 10}
    path = saved_unet(tmp_path, diffusers.UNet2DModel, **unet)
    with pytest.raises(UsageError, match=r"PipelineDenoiser\.classes"):
        MODELS.build(path)
    with pytest.raises(UsageError, match=r"classes=10 and 10 rows"):
        MODELS.build({**path, "classes": 10})
    assert MODELS.build({**path, "classes": 9}).classes == 9


def test_a_network_of_texts_has_prompts(tmp_path, prompts):
    """Labels in the place of tokens stop the first step with an error of some matrix; a wrong number of classes guides from a prompt."""
    path = saved_unet(tmp_path, diffusers.UNet2DConditionModel, **UNET)
    with pytest.raises(UsageError, match=r"PipelineDenoiser\.prompts"):
        MODELS.build(path)
    model = MODELS.build({**path, "prompts": prompts}).eval()
    assert model.classes == 3
    x, t = torch.randn(2, 4, 8, 8), torch.full((2,), 500.0)
    with torch.no_grad():
        theirs = model.net.net(x, t, model.net.prompts[torch.tensor([0, 2])]).sample
        assert torch.allclose(model.predict(x, t, torch.tensor([0, 2])), theirs, atol=1e-6)
    with pytest.raises(UsageError, match="classes=2 and 4 rows"):
        MODELS.build({**text_denoiser(prompts), "classes": 2})
    with pytest.raises(UsageError, match="classes=4 and 4 rows"):
        MODELS.build(dit_denoiser(classes=4))
    with pytest.raises(UsageError, match=r"told texts.*TextConditioned"):
        MODELS.build({**text_denoiser(prompts), "net": {"type": "diffusers.UNet2DConditionModel", **UNET}})


def test_a_pipeline_without_diffusers_names_what_to_install(tmp_path, monkeypatch):
    """A traceback of an import tells nobody which extra it is."""
    saved_pipeline(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r"needs diffusers.*pip install"):
        MODELS.build({"type": "kdgen.PipelineDenoiser", "path": str(tmp_path)})
