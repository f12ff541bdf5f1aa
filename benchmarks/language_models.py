"""Language models: a step of MLKD against the same by hand, and scoring against the bare forward pass.

`step`: a Distiller with `kdood.PredictionKD` and `kdood.AdaptiveLayerKD`, against a loop that calls both nets and both losses itself, so that what
is compared is the frame around them. `scoring`: `kdood.scorer.Scorer` on texts of ragged lengths, tokenised and put in order by itself, against the model
alone on the same padded batches, which lie ready. Each round runs both once, in random order; quoted is the median of the ratios round by round, with its
quartiles. Time is that of the process on its CPU, so that other work on the machine counts little. It stops if the two do not compute the same.

Usage: python benchmarks/language_models.py [step scoring] [--texts 16] [--tokens 64] [--width 256] [--rounds 20] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from losses import TOLERANCE, require_equal  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

from kdhub.api import TorchModel  # noqa: E402
from kdhub.distill.distiller import Distiller  # noqa: E402
from kdhub.distill.teachers import ModelTeacher  # noqa: E402
from kdlm.tokenizer import load_tokenizer, train_tokenizer  # noqa: E402
from kdood.losses.prediction_kd import PredictionKD  # noqa: E402
from kdood.scorer import Scorer  # noqa: E402

LAYERS, VOCABULARY, WARM_UP = 4, 1024, 2
Run = Callable[[], float]


def net(width: int) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=256,
        n_embd=width,
        n_layer=LAYERS,
        n_head=4,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config)


def steps(texts: int, tokens: int, width: int) -> tuple[Run, Run]:
    torch.manual_seed(0)
    student, teacher = net(width).train(), net(width).eval().requires_grad_(False)
    lengths = torch.linspace(tokens // 2, tokens, texts).long()
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
    ids = torch.randint(1, VOCABULARY, (texts, tokens)) * mask
    twin = copy.deepcopy(student)
    model = Distiller(
        TorchModel(student),
        teacher=ModelTeacher(TorchModel(teacher), batch="student"),
        objectives={
            "prediction": {
                "loss": {"type": "kdood.PredictionKD"},
                "student": "lm_head",
                "teacher": "lm_head",
            },
            "layers": {
                "loss": {
                    "type": "kdood.AdaptiveLayerKD",
                    "teacher_width": width,
                    "student_layers": (1, LAYERS - 1),
                    "teacher_layers": (1, LAYERS),
                },
                "student": {"type": "kdlm.HiddenStates"},
                "teacher": {"type": "kdlm.HiddenStates"},
            },
        },
        task_weight=0.0,
    ).train()
    its_layers = copy.deepcopy(model.objectives["layers"].loss)  # whose projection the distiller has drawn
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
    own = torch.optim.SGD([*twin.parameters(), *its_layers.parameters()], lr=1e-3)
    prediction = PredictionKD()

    def by_hand() -> float:
        # the net's own loss, too, as it is computed where there are labels
        ours = twin(**batch, output_hidden_states=True)
        with torch.no_grad():
            theirs = teacher(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        loss = prediction(ours.logits, theirs.logits, mask) + its_layers(ours.hidden_states, theirs.hidden_states, mask)
        loss.backward()
        own.step()
        own.zero_grad()
        return float(loss)

    return lambda: float(model.train_step(dict(batch), wrapper)["loss"]), by_hand


def scorings(texts: int, tokens: int, width: int, folder: Path) -> tuple[Run, Run]:
    torch.manual_seed(0)
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=4)) for _ in range(300)]
    lines = [" ".join(chance.choices(words, k=chance.randint(4, max(5, tokens // 2)))) for _ in range(8 * texts)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    train_tokenizer(folder, [str(folder / "text.txt")], size=VOCABULARY, max_length=256)
    net(width).save_pretrained(folder / "model")
    load_tokenizer(str(folder / "tokenizer")).save_pretrained(folder / "model")
    scorer = Scorer(str(folder / "model"), max_length=min(256, tokens + 1), batch_size=texts)
    batches: list[Mapping[str, Any]] = []
    forward = scorer.model.forward
    scorer.model.forward = lambda **batch: (batches.append(batch), forward(**batch))[1]
    first = sum(score.nll for score in scorer.scores(lines))
    scorer.model.forward = forward

    @torch.inference_mode()
    def bare() -> float:
        for batch in batches:
            scorer.model(**batch)
        return first

    return lambda: sum(score.nll for score in scorer.scores(lines)), bare


def measured(name: str, ours: Run, other: Run, rounds: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"kdhub": [], "other": []}
    chance = random.Random(0)
    for number in range(rounds + WARM_UP):
        values = {}
        for which, run in chance.sample([("kdhub", ours), ("other", other)], 2):
            begin = time.process_time()
            values[which] = run()
            if number >= WARM_UP:
                seconds[which].append(time.process_time() - begin)
        if number < WARM_UP:
            require_equal(name, values, "other", {"kdhub": TOLERANCE})
    ratios = [one / two for one, two in zip(seconds["kdhub"], seconds["other"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    times = {which: 1e3 * statistics.median(values) for which, values in seconds.items()}
    return {"ratio": middle, "quartiles": [low, high], "ms": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="step, scoring; both by default")
    parser.add_argument("--texts", type=int, default=16, help="texts of a batch (default 16)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the longest text (default 64)")
    parser.add_argument("--width", type=int, default=256, help="width of the nets, of 4 layers (default 256)")
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds (default 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if unknown := {*args.parts} - {"step", "scoring"}:
        parser.error(f"unknown part {sorted(unknown)[0]!r}: step or scoring")
    torch.set_num_threads(1)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    found = {}
    if "step" in (args.parts or ["step"]):
        found["step"] = measured("step", *steps(args.texts, args.tokens, args.width), args.rounds)
    if "scoring" in (args.parts or ["scoring"]):
        with tempfile.TemporaryDirectory() as folder:
            runs = scorings(args.texts, args.tokens, args.width, Path(folder))
            found["scoring"] = measured("scoring", *runs, args.rounds)
    if args.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        low, high = row["quartiles"]
        print(
            f"{name}: {row['ratio']:.3f} ({low:.3f} to {high:.3f}), ms {row['ms']['kdhub']:.0f}, {row['ms']['other']:.0f}"
        )


if __name__ == "__main__":
    main()
