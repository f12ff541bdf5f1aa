"""`StoredTeacher`: asked by keys, it answers what was stored under them, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from kdhub.caching.stored import StoredTeacher
from kdhub.distill.distiller import Distiller
from kdhub.distill.taps import MethodOutput, ModuleInput, ModuleOutput, resolved
from kdhub.engine.resume.sampling import SampleKey
from kdhub.errors import UsageError
from kdhub.store import Manifest, StoreWriter, find_tree
from kdhub.testing.toys import ToyEncoder, ToySegmentor

KEYS = [(index, draw) for draw in range(2) for index in range(4)]


def logits(keys: list[tuple[int, int]]) -> torch.Tensor:
    """Return logits (B, 4, 8, 8) that tell sample and draw."""
    return torch.stack([torch.full((4, 8, 8), 10.0 * draw + index) for index, draw in keys])


def fill(folder: Path, precision: str = "float32") -> Path:
    """Store two augmentations of four samples."""
    tree = find_tree([(3, logits(KEYS[:3])), (2, logits(KEYS[:2]))], precision)
    manifest = Manifest(
        teacher="weights-a.config-b",
        taps=("head",),
        mode="recorded",
        draws=2,
        seed=0,
        samples=4,
        data="four",
        preprocessing="none",
        precision={"head": precision},
        trees={"head": tree.to_json()},
        class_names=("road", "sky"),
    )
    with StoreWriter.open(folder, manifest) as writer:
        writer.add(KEYS, {"head": logits(KEYS)})
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two augmentations of four samples."""
    return fill(tmp_path / "store")


def test_it_answers_for_sample_and_augmentation(store: Path) -> None:
    """The third pass shows the first augmentation again; the value of another one is as wrong as another sample's."""
    tap = ModuleOutput("head")
    StoredTeacher(str(store)).values([SampleKey(3, 0), SampleKey(1, 3), SampleKey(2, 4)], [tap], check_mode=True)
    assert tap.fired
    assert tap.read()[:, 0, 0, 0].tolist() == [3.0, 11.0, 2.0]
    assert not tap.fired


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (None, "does not say which samples it holds.*kdhub train"),
        ([SampleKey(4, 0)], "no such sample in the teacher store.*got sample 4, draw 0"),
    ],
)
def test_it_never_guesses(store: Path, keys: Any, said: str) -> None:
    """A batch without keys, or a sample that was never stored, must stop the run and not get some value."""
    with pytest.raises(UsageError, match=said):
        StoredTeacher(str(store)).values(keys, [ModuleOutput("head")], check_mode=True)


def test_it_reads_what_it_is_asked_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of feature maps serves a loss on logits only if the maps stay on the disk."""
    teacher, asked = StoredTeacher(str(store)), []
    read = teacher.reader.read
    monkeypatch.setattr(teacher.reader, "read", lambda keys, taps: (asked.append(taps), read(keys, taps))[1])
    teacher.values([SampleKey(0, 0)], [ModuleOutput("head")], check_mode=True)
    assert asked == [{"head"}]


def test_it_has_no_values_of_another_tap(store: Path) -> None:
    """The input of the head has the shape of its neighbour's output, and is another value."""
    with pytest.raises(UsageError, match=r"no values of ModuleInput\('head'\).*expected head"):
        StoredTeacher(str(store)).values([SampleKey(0, 0)], [ModuleInput("head")], check_mode=True)


def test_its_identity_is_the_teachers_and_the_stores(store: Path, tmp_path: Path) -> None:
    """Without it a run could be resumed with another teacher's answers, or with coarser ones of the same."""
    teacher = StoredTeacher(str(store))
    assert teacher.fingerprint().startswith("weights-a.config-b.store-")
    assert teacher.fingerprint() == StoredTeacher(str(fill(tmp_path / "again"))).fingerprint()
    assert teacher.fingerprint() != StoredTeacher(str(fill(tmp_path / "coarse", "float16"))).fingerprint()
    assert teacher.class_names == ("road", "sky")
    assert copy.deepcopy(teacher) is teacher


def test_a_path_finds_the_method_that_it_names() -> None:
    """Without a model a path looks like a module's; on the live teacher, a method that is not recorded never answers."""
    unresolved = ModuleOutput("embed", call="cat")
    tap = resolved(unresolved, ToyEncoder())
    assert isinstance(tap, MethodOutput)
    assert tap.identity == unresolved.identity == "embed (call='cat')"
    assert ModuleInput("embed").identity != unresolved.identity


def test_a_distiller_gives_it_the_keys_and_nobody_else(store: Path) -> None:
    """The student's forward would refuse an unknown field, or worse, take it for data."""
    distiller = Distiller(
        student=ToySegmentor(),
        teacher={"type": "kdhub.StoredTeacher", "store": str(store)},
        objectives={"logits": {"loss": {"type": "kdhub.MSE"}, "student": "head", "teacher": "head"}},
    )
    batch = {"inputs": torch.rand(2, 3, 16, 16), "labels": torch.zeros(2, 16, 16, dtype=torch.long)}
    data = distiller.data_preprocessor({**batch, "sample_keys": [SampleKey(0, 0), SampleKey(1, 1)]}, True)
    assert set(data["student"]) == {"inputs", "labels"}
    assert distiller(**data, mode="loss")["loss_logits"] > 0


def test_mixed_images_are_refused(store: Path) -> None:
    """Mixup makes images that the teacher never saw: any stored answer would be of another image."""
    student = ToySegmentor()
    student.data_preprocessor.batch_augments = [object()]
    with pytest.raises(UsageError, match="batch_augments, and teacher 'teacher' is stored"):
        Distiller(student=student, teacher=StoredTeacher(str(store)), objectives={})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 0}, "bad draws"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"verify": -1}, "bad verify"),
        ({"max_error": 0}, "bad max_error"),
        ({"teacher": {"type": "kdhub.StoredTeacher", "store": "x"}}, "StoredTeacher cannot be stored"),
        ({"teacher": {"precision": "auto"}}, "'auto' cannot be stored.*measuring.*name 'bfloat16'.*or 'float32'"),
        ({"teacher": {"precision": "amp"}}, "teacher.precision: a teacher in precision 'amp' cannot be stored"),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any], said: str) -> None:
    """A typing error must not cost a night of the teacher's work."""
    with pytest.raises(UsageError, match=said):
        StoredTeacher("nowhere", **options)


def test_precisions_are_by_tap() -> None:
    """Logits bear top-k and feature maps do not; a misspelt tap would be kept in float32 in silence."""
    teacher = StoredTeacher("nowhere", precision={"head": "topk:8"})
    assert teacher.precisions(["head", "backbone"]) == {"head": "topk:8", "backbone": "float32"}
    with pytest.raises(UsageError, match=r"no objective reads 'head'.*expected 'haed'"):
        teacher.precisions(["haed"])
    # one config for several methods may name the forms of all that their store has
    assert teacher.precisions(["backbone"], stored=["head", "backbone"]) == {"backbone": "float32"}


def test_the_precision_of_the_passes_is_part_of_the_identity() -> None:
    """Answers in bfloat16 and in float32 in one store would be of two teachers."""
    model = ToySegmentor()
    made = [
        StoredTeacher("nowhere", {"type": "kdhub.ModelTeacher", "model": model, "precision": precision}).live
        for precision in ("float32", "bfloat16")
    ]
    weights, configs = zip(*(one.fingerprint().split(".") for one in made if one is not None), strict=True)
    assert configs[0] != configs[1]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("several", [False, True])
def test_an_error_of_a_teacher_says_which(store: Path, several: bool) -> None:
    """With three teachers, "the batch does not say" is a riddle; the key path is where to look."""

    class Lost(StoredTeacher):
        def values(self, *_arguments: Any, **_options: Any) -> None:
            raise UsageError("it is lost")

    teachers = {"teachers": {"kept": Lost(str(store))}} if several else {"teacher": Lost(str(store))}
    distiller = Distiller(
        student=ToySegmentor(),
        objectives={
            "logits": {
                "loss": {"type": "kdhub.MSE"},
                "student": "head",
                "teacher": "kept:head" if several else "head",
            }
        },
        **teachers,
    )
    batch = {"inputs": torch.rand(2, 3, 16, 16), "labels": torch.zeros(2, 16, 16, dtype=torch.long)}
    data = distiller.data_preprocessor(batch, True)
    with pytest.raises(UsageError, match=r"^model\.teachers\.kept: it is lost" if several else r"^model\.teacher: "):
        distiller(**data, mode="loss")
