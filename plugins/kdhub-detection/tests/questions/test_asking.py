"""Answers of a server that is slow, wrong, busy or gone, and a classifier that learns from them: no paid answer is lost."""

import base64
import io
import json
import math
import signal
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from kddet.questions.answering import answer_of
from kddet.questions.answers import ANSWERS, AspectTeacher
from kddet.questions.ask_job import ask, image_of
from kdhub.api import UsageError, ask_all
from kdhub.cli.main import main

pytest.importorskip("openai", reason="pip install 'kdhub-detection[server]'")
QUESTIONS = ["Is it bright?", "Is it red?"]


class Server:
    """A server on this machine that sees whether an image is bright or red; first it behaves as a list says."""

    def __init__(self):
        self.behaviours, self.asked, self.lock = [], [], threading.Lock()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.asked.append((body, self.headers["Authorization"]))
                    how = outer.behaviours.pop(0) if outer.behaviours else "well"
                outer.answer(self, how, body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, handler, how, body):
        if how == "slow":
            self.released.wait(20)
            return
        if how == "late":
            self.released.wait(0.5)
        image, text = body["messages"][0]["content"]
        raw = base64.b64decode(image["image_url"]["url"].split(",")[1])
        pixels = np.asarray(Image.open(io.BytesIO(raw))).astype(float).mean((0, 1))
        true = pixels.mean() > 100 if text["text"].startswith(QUESTIONS[0]) else pixels[0] > pixels[1] + 20
        yes, no = (-0.1269, -2.1269) if true else (-2.1269, -0.1269)
        top = [{"token": "Yes", "logprob": yes}, {"token": " Yes", "logprob": -1.0}, {"token": "No", "logprob": no}]
        if how == "unsure":
            top = [{"token": "The", "logprob": -0.1}, {"token": "No", "logprob": -3.0}]
        if how == "chatty":
            top = [{"token": "The", "logprob": -0.1}]
        logprobs = None if how == "bare" else {"content": [{"token": "Yes", "logprob": yes, "top_logprobs": top}]}
        choice = {"message": {"content": "Yes"}, "logprobs": logprobs}
        status = how if isinstance(how, int) else 200
        said = f"no, {handler.headers['Authorization']} is no key"
        content = {"error": {"message": said}} if status != 200 else {"choices": [choice]}
        content["usage"] = {"total_tokens": 500, "prompt_tokens": 499, "completion_tokens": 1}
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Retry-After-Ms", "1")
        handler.end_headers()
        handler.wfile.write(json.dumps(content).encode())


@pytest.fixture
def server():
    running = Server()
    yield running
    running.released.set()
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Three pictures a class, dark and white, one of them red; the questions."""
    monkeypatch.chdir(tmp_path)
    for name, colour in (("dark", (10, 10, 10)), ("white", (250, 250, 250))):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32), (250, 10, 10) if (name, number) == ("dark", 2) else colour).save(
                folder / f"{number}.png"
            )
    Path("questions.txt").write_text("# of brightness and colour\n" + "\n".join(QUESTIONS))
    Path("answers").mkdir()
    return tmp_path


DATA = {"type": "kdhub.TorchDataset", "data": {"type": "torchvision.datasets.ImageFolder", "root": "pictures"}}


def run(server, **more):
    import kdhub

    kdhub.init()
    options = {"base_url": server.url, "concurrency": 1, "retries": 1, "timeout": 5} | more
    return ask(Path("answers"), "questions.txt", DATA, "toy", **options)


def lines():
    return [json.loads(line) for line in Path("answers", ANSWERS).read_text().splitlines()]


def test_answers_by_hand():
    """Log-probabilities 2 apart are a probability of 0.880797; other spellings do not count."""
    answer = answer_of({"Yes": -0.5, "No": -2.5, " Yes": -0.1})
    assert answer.yes == pytest.approx(0.880797, abs=1e-6)
    assert answer.sure == pytest.approx(math.exp(-0.5) + math.exp(-2.5))
    assert answer_of({"No": -0.1}).yes == 0
    with pytest.raises(UsageError, match="neither Yes nor No.*got 'The', 'A'"):
        answer_of({"The": -1.0, "A": -2.0})


def test_each_question_is_asked_once(work, server, capsys, monkeypatch):
    """Answers cost money; what they will cost is said before; and no key may stand in a file."""
    monkeypatch.setenv("TOY_KEY", "secret-key")
    facts = run(server, api_key_env="TOY_KEY", price=2.0)
    assert facts == {"images": 6, "questions": 2, "asked": 12, "unsure": 0.0, "constant": []}
    assert "12 questions, by the first of them about" in (said := "".join(capsys.readouterr()))
    assert "0.01 million tokens, 0.01 at 2 a million" in said
    assert run(server)["asked"] == 0
    assert len(server.asked) == 12
    assert server.asked[0][1] == "Bearer secret-key"
    assert all("secret-key" not in path.read_text() for path in Path("answers").iterdir())
    teacher = AspectTeacher("answers", "questions.txt")
    table = teacher.answers(range(6))["aspects"]
    assert (table > 0.5).int().tolist() == [[0, 0], [0, 0], [0, 1], [1, 0], [1, 0], [1, 0]]
    assert table[3, 0].item() == pytest.approx(0.880797, abs=1e-4)


@pytest.mark.parametrize("behaviours", [["well", 429, "well", 500], ["well", "well", 500, 500]])
def test_what_was_answered_survives_what_was_not(work, server, behaviours):
    """429 and 500 are daily weather: asked again at once, or by the same command later, and nothing twice."""
    server.behaviours = list(behaviours)
    if behaviours[-2:] == [500, 500]:
        with pytest.raises(UsageError, match=r"1 questions got no answer .*the same command asks for the rest"):
            run(server)
        assert len(lines()) == 11
        with pytest.raises(UsageError, match="no answers here"):
            AspectTeacher("answers")
        assert run(server)["asked"] == 1
    else:
        assert run(server)["asked"] == 12
    assert len({(line["image"], line["question"]) for line in lines()}) == len(lines()) == 12


def test_a_server_that_is_slow_or_gone(work, server):
    """A thousand questions to a dead server, each with its retries, take an evening."""
    server.behaviours = ["well", *["slow"] * 12]
    with pytest.raises(UsageError, match="seems to be gone .*APITimeoutError"):
        run(server, timeout=0.2, retries=0)
    assert len(lines()) == 1


@pytest.mark.parametrize(
    ("how", "message"),
    [(401, "refuses .*Authentication"), ("bare", "no log-probabilities"), ("chatty", "neither Yes nor No")],
)
def test_an_answer_that_can_never_be_right_stops_at_once(work, server, how, message):
    """A wrong key, a server without logprobs or a prompt that fails is so for all questions."""
    server.behaviours = [how] * 12
    with pytest.raises(UsageError, match=message):
        run(server)
    assert len(server.asked) == 1


def test_a_stop_keeps_the_answers_that_are_under_way(work, server):
    """At 32 questions at once, each stop threw 31 paid answers away."""
    server.behaviours = ["well", "late", 401, "late", "late"]
    with pytest.raises(UsageError, match="refuses .*Authentication"):
        run(server, concurrency=4)
    assert len(lines()) == len(server.asked) - 1 == 4


def test_ctrl_c_keeps_the_answers_that_are_under_way():
    """Nobody wants to pay for these twice because a price was mistyped."""
    # a shell's background job starts with Ctrl-C ignored
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun, stopped = threading.Barrier(4), threading.Event()

    def ask_one(number):
        begun.wait(5)
        if number == 0:
            time.sleep(0.5)  # the main thread waits by now
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            stopped.set()
        stopped.wait(5)
        time.sleep(0.2)
        return number

    kept = []
    try:
        with pytest.raises(KeyboardInterrupt):
            for _, answer in ask_all(ask_one, range(100), 4):
                kept.append(answer)
    finally:
        signal.signal(signal.SIGINT, former)
    assert sorted(kept) == [0, 1, 2, 3]


def test_an_error_never_shows_the_key(work, server, monkeypatch):
    """Some servers repeat the header that they refuse, and errors end in logs and questions to others."""
    monkeypatch.setenv("TOY_KEY", "secret-key")
    server.behaviours = [401]
    with pytest.raises(UsageError, match=r"Bearer \(the key\) is no key") as told:
        run(server, api_key_env="TOY_KEY")
    assert "secret-key" not in "".join(traceback.format_exception(told.value))


def test_questions_that_changed(work, server):
    """The fifth output would learn the answers of another question, and only accuracy would show it."""
    run(server)
    Path("questions.txt").write_text("\n".join(reversed(QUESTIONS)))
    with pytest.raises(UsageError, match="the answers here are to other questions"):
        run(server)
    with pytest.raises(UsageError, match=r"the answers are to other questions.*expected version"):
        AspectTeacher("answers", "questions.txt")
    Path("answers", ANSWERS).write_text(Path("answers", ANSWERS).read_text().splitlines()[0] + "\n")
    with pytest.raises(UsageError, match="the answers changed after the job ended"):
        AspectTeacher("answers")


def test_an_image_that_changed(work, server):
    """As many images in another order are no others to a count: each answer would be about its neighbour."""
    run(server)
    Path("answers", ANSWERS).write_text("\n".join(Path("answers", ANSWERS).read_text().splitlines()[:-1]) + "\n")
    Path("pictures/dark/0.png").rename("pictures/dark/3.png")
    with pytest.raises(
        UsageError, match=r"job.data, image 1: the answers here are about another image.*expected sha256"
    ):
        run(server)
    Path("pictures/dark/3.png").rename("pictures/dark/0.png")
    assert run(server)["asked"] == 1


def test_a_prompt_that_fails_is_told_after_twenty_answers(work, server):
    """An answer that is neither Yes nor No costs as much as any, and a data set has 100,000."""
    Path("questions.txt").write_text("\n".join(f"Is it {number}?" for number in range(20)))
    server.behaviours = ["unsure"] * 120
    with pytest.raises(UsageError, match=r"neither Yes nor No.*100% of 2\d answers.*another folder"):
        run(server, concurrency=2)
    assert 20 <= len(lines()) == len(server.asked) <= 22
    with pytest.raises(UsageError, match="neither Yes nor No"):
        run(server)
    assert len(lines()) == len(server.asked)


def test_a_prompt_with_other_braces(work, server):
    """A prompt may show JSON: only {} is the question's place."""
    Path("questions.txt").write_text(QUESTIONS[0])
    run(server, prompt='{} Say Yes or No, not {"answer": 1}.')
    said = server.asked[0][0]["messages"][0]["content"][1]["text"]
    assert said == QUESTIONS[0] + ' Say Yes or No, not {"answer": 1}.'


def test_bytes_of_openmmlab_are_bgr():
    """Red that is read as blue is asked about, and answered, as blue."""
    bytes_ = torch.zeros(3, 4, 4, dtype=torch.uint8)
    bytes_[2] = 250
    assert image_of({"inputs": bytes_, "data_samples": None}).getpixel((0, 0)) == (250, 0, 0)
    assert image_of({"inputs": bytes_}).getpixel((0, 0)) == image_of((bytes_, 1)).getpixel((0, 0)) == (0, 0, 250)


def test_the_control_gives_the_answers_of_another(work, server):
    """Random targets help too: the control must hold the same answers in another order, and be another teacher."""
    run(server)
    true, control = AspectTeacher("answers"), AspectTeacher("answers", control="random", seed=1)
    ours, theirs = (one.answers(range(6))["aspects"] for one in (true, control))
    assert not torch.equal(ours, theirs)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert true.fingerprint() != control.fingerprint()


STUDENT = """
predecessors = dict(answers="ask.py")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(
            type="kddet.Widened",
            net=dict(type="torchvision.models.shufflenet_v2_x0_5", num_classes=2),
            path="fc",
            questions="questions.txt",
        ),
        criterion=dict(type="torch.nn.CrossEntropyLoss"),
    ),
    teacher=dict(type="kddet.AspectTeacher", folder="@answers", questions="questions.txt"),
    objectives=dict(
        aspects=dict(
            loss=dict(type="kddet.MultiAspectLoss", class_weight=0.0), student="fc.wide", teacher="aspects"
        )
    ),
)
train_dataloader = dict(
    batch_size=3,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="kdhub.TorchDataset",
        data=dict(
            type="torchvision.datasets.ImageFolder",
            root="pictures",
            transform=dict(type="torchvision.transforms.ToTensor"),
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
work_dir = "run"
"""


@pytest.mark.timeout(200)
def test_it_asks_trains_and_leaves_a_plain_student(work, server):
    """One command: the job's answers reach the loss by image, and the exported classifier has C outputs."""
    Path("student.py").write_text(STUDENT)
    Path("ask.py").write_text(
        f'job = dict(type="kddet.Ask", questions="questions.txt", data={DATA!r}, model="toy", base_url={server.url!r})\n'
        'work_dir = "asked"\n'
    )
    assert main(["train", "student.py"]) == 0
    (scalars,) = Path("run").rglob("scalars.json")
    assert json.loads(scalars.read_text().splitlines()[0])["loss_aspects_aspects"] > 0
    weights = load_file("run/student/model.safetensors")
    assert weights["fc.weight"].shape[0] == 2
    assert not any("wide" in name for name in weights)
    assert "Widened" not in Path("run/student/model.py").read_text()
