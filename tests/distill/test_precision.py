"""A teacher in half precision answers nearly what it would in float32, or does not answer in half precision."""

import copy
import json
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import multiprocessing, nn

from kdhub.distill import precision
from kdhub.distill.precision import BATCHES, relative_error
from kdhub.distill.taps import MethodOutput, ModuleOutput
from kdhub.distill.teachers import ModelTeacher
from kdhub.errors import UsageError
from kdhub.testing.toys import ToySegmentor, segmentation_batch


class Counted(ToySegmentor):
    """A segmentor that knows how often it ran, and in which precision."""

    def __init__(self, **options):
        super().__init__(**options)
        self.runs = []

    def forward(self, inputs, labels=None, mode="tensor"):
        logits = super().forward(inputs, labels, mode)
        self.runs.append(logits.dtype)
        return logits


def teacher(model=Counted, **options):
    torch.manual_seed(2)
    return ModelTeacher(model(width=16), **options)


def answer(one, seed=0, taps=None):
    taps = taps or [ModuleOutput("head")]
    one.values(segmentation_batch(seed=seed), taps, check_mode=True)
    return taps[0].read()


@pytest.fixture(autouse=True)
def _cpu_with_bfloat16(monkeypatch):
    """Torch emulates bfloat16 where the CPU has none, so the tests need none."""
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)


@pytest.fixture
def lines(monkeypatch):
    """Everything that is logged about precision."""
    found = []
    monkeypatch.setattr(precision, "print_log", lambda line, *_: found.append(line))
    return found


@pytest.mark.parametrize(
    ("half", "exact", "expected"),
    [
        ([3.0, 4.5], [3.0, 4.0], 0.5 / 5.0),
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, -math.inf], [4.0, -math.inf], 0.25),
        ([3.0, math.inf], [3.0, 60000.0], math.inf),
        ([3.0, math.nan], [3.0, 4.0], math.inf),
        ([0.0, 1.0], [0.0, 0.0], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([1, 2, 3, 9], [1, 2, 3, 4], 0.25),
        ([], [], 0.0),
    ],
)
def test_error_of_a_tensor_by_hand(half, exact, expected):
    """An error that is NaN, or blind to overflow and to another number of entries, passes every limit."""
    assert relative_error(torch.tensor(half), torch.tensor(exact)) == pytest.approx(expected)


def test_error_of_nested_values_is_the_worst_of_them():
    """A spoiled tensor must not hide behind a good one, nor behind a value in which nothing can be compared."""
    good, bad = torch.ones(4), torch.ones(4) * 1.5
    assert relative_error({"a": good, "b": (bad,)}, {"a": good, "b": (good,)}) == pytest.approx(0.5)
    assert relative_error([good], [good, good]) == math.inf
    assert relative_error("text", "text") == math.inf


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e3, 1e3, width=32, allow_subnormal=False), min_size=1, max_size=20), st.integers(0, 100))
def test_rounding_to_bfloat16_is_a_small_error_at_every_scale(numbers, power):
    """bfloat16 keeps 8 bits: an error above 2⁻⁸ for rounding alone, or one that depends on the unit, is miscounted."""
    exact = torch.tensor(numbers) * 2.0**power
    assert relative_error(exact.bfloat16(), exact) <= 2**-8


def test_first_batches_run_twice_and_the_others_once():
    """Measuring for ever would cost more than half precision saves; a batch that nobody measured would go unseen."""
    one = teacher(precision="bfloat16")
    for seed in range(BATCHES + 2):
        assert answer(one, seed).dtype is torch.bfloat16
    assert one.model.runs == [torch.float32, torch.bfloat16] * BATCHES + [torch.bfloat16] * 2


def test_answers_are_near_those_in_float32_and_the_errors_are_logged(lines):
    """The run must say, tap by tap, what half precision changed."""
    one = teacher(precision="auto")
    head, backbone = ModuleOutput("head"), ModuleOutput("backbone")
    for seed in range(BATCHES):
        found = answer(one, seed, [head, backbone])
        exact = answer(teacher(), seed)
        assert 0 < relative_error(found, exact) < 0.02
    assert [line.split(" differs")[0] for line in lines] == [
        "teacher: bfloat16: ModuleOutput('head')",
        "teacher: bfloat16: ModuleOutput('backbone')",
    ]
    assert all(f"worst of {BATCHES} batches" in line for line in lines)


def test_auto_falls_back_to_float32_for_the_batch_that_showed_the_error(lines):
    """An answer known to be wrong must not teach, not even once."""
    one = teacher(precision="auto", max_error=1e-9)
    assert torch.equal(answer(one), answer(teacher()))
    assert torch.equal(answer(one, 1), answer(teacher(), 1))
    assert one.model.runs == [torch.float32, torch.bfloat16, torch.float32, torch.float32]
    assert len(lines) == 1
    assert lines[0].startswith("teacher stays in float32: bfloat16: ModuleOutput('head') differs from float32 by 0.0")
    assert lines[0].endswith("above max_error=1e-09")


def test_bfloat16_stops_where_auto_falls_back():
    """Who asks for bfloat16 by name must not silently get another teacher; the error says which tap and what to do."""
    with pytest.raises(UsageError, match=r"bfloat16: ModuleOutput\('head'\) differs .* 1e-09.* precision='float32'"):
        answer(teacher(precision="bfloat16", max_error=1e-9))


class Overflowing(ToySegmentor):
    """A model whose logits in half precision hold an infinity."""

    def forward(self, inputs, labels=None, mode="tensor"):
        logits = super().forward(inputs, labels, mode)
        return self.tail(logits)

    def tail(self, logits):
        """Divide by what half precision lost."""
        return logits / (0.0 if logits.dtype is torch.bfloat16 else 1.0)


def test_overflow_is_not_comparable(lines):
    """Infinite errors have no number; they must be refused, and said in words."""
    answer(teacher(Overflowing, precision="auto"), taps=[MethodOutput("tail")])
    assert lines == [
        "teacher stays in float32: bfloat16: MethodOutput('tail') cannot be compared (worst of 1 batch), above"
        " max_error=0.02"
    ]


def test_a_cpu_without_bfloat16_says_so_and_stays_in_float32(lines, monkeypatch):
    """Emulated bfloat16 is slower than float32, and less precise: 'auto' must not choose it."""
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)
    one = teacher(precision="auto")
    assert torch.equal(answer(one), answer(teacher()))
    assert one.model.runs == [torch.float32]
    assert lines == ["teacher stays in float32: this CPU has no bfloat16"]


@pytest.mark.parametrize("batches", [1, BATCHES])
def test_a_resumed_run_measures_only_what_was_left(batches):
    """A decision made anew after a resume may be another one: the trained weights would no longer be those of one run."""
    before = teacher(precision="auto")
    for seed in range(batches):
        answer(before, seed)
    resumed = teacher(precision="auto")
    resumed.load_state(json.loads(json.dumps(before.state())))
    assert resumed.state() == before.state()
    for seed in range(batches, BATCHES + 1):
        assert torch.equal(answer(before, seed), answer(resumed, seed))
    assert resumed.state() == before.state()
    assert resumed.model.runs.count(torch.float32) == BATCHES - batches


def test_a_resumed_run_keeps_to_the_refusal():
    """A run that fell back to float32 must not go on in bfloat16 where other batches happen to agree."""
    before = teacher(precision="auto", max_error=1e-9)
    answer(before)
    resumed = teacher(precision="auto")
    resumed.load_state(before.state())
    assert answer(resumed, 1).dtype is torch.float32
    assert resumed.model.runs == [torch.float32]
    assert resumed.state()["precision"] == "float32"


def test_only_half_precision_has_a_state():
    """Checkpoints of ordinary runs must not differ, nor must a state be forced on a teacher that decides nothing."""
    one = teacher()
    assert one.state() == {}
    one.load_state(teacher(precision="auto").state())
    assert answer(one).dtype is torch.float32


class Restless(ToySegmentor):
    """A teacher that draws random numbers even in eval mode."""

    def forward(self, inputs, labels=None, mode="tensor"):
        return super().forward(inputs + torch.rand_like(inputs), labels, mode)


def test_measuring_draws_no_random_numbers_of_its_own():
    """The student's dropout after the measured batches must be what it is with a teacher in float32."""
    following = []
    for choice in ("float32", "bfloat16"):
        one = teacher(Restless, precision=choice)
        torch.manual_seed(5)
        answer(one)
        following.append(torch.rand(3))
    assert torch.equal(*following)


class Scribbling(ToySegmentor):
    """A model that writes into the batch's lists, as detectors do into their samples."""

    def forward(self, inputs, notes, mode="tensor"):
        notes.append("seen")
        assert notes == ["seen"]
        return super().forward(inputs, mode=mode)


def test_each_pass_gets_containers_of_its_own():
    """A second pass over samples that the first one wrote into would answer something else."""
    one = teacher(Scribbling, precision="bfloat16")
    batch = {"inputs": segmentation_batch()["inputs"], "notes": []}
    tap = ModuleOutput("head")
    one.values(batch, [tap], check_mode=True)
    assert tap.read().dtype is torch.bfloat16
    assert batch["notes"] == []


class Overwriting(nn.Module):
    """Rewrites its input."""

    def forward(self, value):
        return value.mul_(0.0)


def test_values_overwritten_in_place_are_compared_as_they_were_read():
    """Compared after the rewrite, both precisions would be equally zero, and any error would pass."""
    one = teacher(precision="auto")
    one.model.head = nn.Sequential(copy.deepcopy(one.model.head), Overwriting()).eval()
    found = answer(one, taps=[ModuleOutput("head.0")])
    assert found.abs().sum() > 0
    assert 0 < one.state()["errors"]["ModuleOutput('head.0')"] < 0.02


def _decide(rank, address, out):
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    precision._cpu_has_bfloat16 = lambda: True
    # the same teacher in both, but the second alone loses its logits in half precision
    one = teacher((ToySegmentor, _Spoiled)[rank], precision="auto")
    dtype = answer(one).dtype
    torch.save((dtype, one.state()), f"{out}/{rank}.pth")
    torch.distributed.destroy_process_group()


class _Spoiled(ToySegmentor):
    def forward(self, inputs, labels=None, mode="tensor"):
        half = torch.is_autocast_enabled("cpu")
        return super().forward(inputs * (2.0 if half else 1.0), labels, mode)


def test_processes_decide_together(tmp_path):
    """Each measures other images: one that goes on in bfloat16 alone is no longer the experiment that was recorded."""
    multiprocessing.spawn(_decide, (f"file://{tmp_path}/meet", str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1))
    assert first == second
    assert first[0] is torch.float32


def test_a_gpu_without_bfloat16_is_told_apart(monkeypatch):
    """Torch's own error comes from inside the forward pass and does not say which option of the config to change."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    one = teacher(precision="bfloat16")
    with pytest.raises(UsageError, match="GPU that has none.*precision='auto'"):
        one._half.answer(None, [], torch.device("cuda"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"precision": "bf16"}, "bad precision .*'bfloat16' or 'auto'"), ({"max_error": 0}, "bad max_error .* above 0")],
)
def test_wrong_options_are_refused(options, message):
    """A misspelt precision must not mean float32."""
    with pytest.raises(UsageError, match=message):
        teacher(**options)


def test_precision_is_part_of_the_fingerprint():
    """A run resumed in another precision has another teacher."""
    prints = {teacher(precision=one).fingerprint() for one in ("float32", "bfloat16", "auto", "amp")}
    assert len(prints) == 4


class Viewing(ToySegmentor):
    """A segmentor that takes for granted in which order its feature maps lie in memory."""

    def forward(self, inputs, labels=None, mode="tensor"):
        logits = super().forward(inputs, labels, mode)
        return logits.view(len(logits), -1).view_as(logits)


def test_half_precision_lays_convolutions_out_channels_last_and_float32_does_not():
    """Half of the gain on convolutions is in the layout; in float32 another layout would change the last bits."""
    seen = []
    one = teacher(precision="auto", max_error=10)
    one.model.backbone.register_forward_hook(lambda _m, _i, out: seen.append(out.is_contiguous()))
    before = one.fingerprint()
    answer(one)
    assert seen == [True, False]
    one._fingerprint = None
    assert one.fingerprint() == before


def test_a_model_that_views_its_feature_maps_keeps_its_layout(lines, monkeypatch):
    """`view` over channels and pixels fails on channels last: a speed-up must not cost somebody's model."""
    monkeypatch.setattr("kdhub.distill.teachers.model.print_log", lambda line, *_: lines.append(line))
    one = teacher(Viewing, precision="auto", max_error=10)
    answers = [answer(one, seed) for seed in range(BATCHES + 1)]
    assert all(found.dtype is torch.bfloat16 for found in answers)
    assert sum("so they stay so" in line for line in lines) == 1
    assert relative_error(answers[-1], answer(teacher(), BATCHES)) < 0.02


def test_other_errors_of_a_half_precision_pass_are_not_tried_again():
    """A second try would hide the first error behind another one."""

    class Broken(Counted):
        def forward(self, inputs, labels=None, mode="tensor"):
            super().forward(inputs, labels, mode)
            raise RuntimeError("mine")

    one = teacher(Broken, precision="auto")
    one.load_state({"precision": "bfloat16", "batches": BATCHES, "errors": {}})
    with pytest.raises(RuntimeError, match="mine"):
        answer(one)
    assert len(one.model.runs) == 1
