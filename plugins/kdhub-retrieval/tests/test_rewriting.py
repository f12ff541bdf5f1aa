"""Rewrites from a language model's server that is slow, wrong, busy or gone: no paid answer is lost, none is asked for twice."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdhub.errors import UsageError
from kdret.data.conversational import with_rewrites
from kdret.data.conversations import read_turns
from kdret.rewriting import ANSWERS, rewrite

pytest.importorskip("openai", reason="pip install 'kdhub-retrieval[rewrite]'")


class Server:
    """A server on this machine that answers as a list of behaviours says, then well."""

    def __init__(self):
        self.behaviours = []
        self.questions = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.questions.append(body)
                    how = outer.behaviours.pop(0) if outer.behaviours else "well"
                outer.answer(self, how, body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.released = threading.Event()

    def answer(self, handler, how, body):
        if how == "slow":
            self.released.wait(20)
            return
        status = how if isinstance(how, int) else 200
        last = body["messages"][1]["content"].split("Last question: ")[1].splitlines()[0]
        text = {"short": "Why", "empty": "", "chatty": f'"{last} reworded in full"\nI hope this helps.'}.get(
            how, f"{last} reworded in full"
        )
        content = {"error": {"message": "no"}} if status != 200 else {"choices": [{"message": {"content": text}}]}
        raw = b"<html>" if how == "html" else json.dumps({} if how == "other" else content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html" if how == "html" else "application/json")
        handler.send_header("Retry-After-Ms", "1")
        handler.end_headers()
        handler.wfile.write(raw)


@pytest.fixture
def server():
    running = Server()
    yield running
    running.released.set()
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def turns(tmp_path):
    """Four turns; the file that the job reads."""
    rows = [{"_id": f"c_{n}", "history": ["first"][:n], "utterance": f"what about number {n}"} for n in range(4)]
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "turns.jsonl"


def run(turns, server, **more):
    options = {"model": "toy", "base_url": server.url, "concurrency": 1, "retries": 1, "timeout": 5} | more
    return rewrite(turns.parent, str(turns), **options)


def answers(turns):
    return [json.loads(line) for line in (turns.parent / ANSWERS).read_text().splitlines()]


def test_each_turn_is_asked_for_once(turns, server):
    """Answers cost money: neither a second run nor a second line may ask again."""
    assert run(turns, server) == {"turns": 4, "asked": 4, "empty": 0}
    assert run(turns, server)["asked"] == 0
    assert len(server.questions) == 4
    assert [entry["rewrite"] for entry in answers(turns)] == [
        f"what about number {n} reworded in full" for n in range(4)
    ]
    assert "first" in server.questions[1]["messages"][1]["content"]
    added = with_rewrites(read_turns(turns), [f"toy={turns.parent / ANSWERS}"])
    assert added[2].rewrites == {"toy": "what about number 2 reworded in full"}


def test_a_busy_server_is_asked_again(turns, server):
    """429 and 500 are the daily weather of such servers."""
    server.behaviours = [429, "well", 500, "well"]
    assert run(turns, server)["asked"] == 4
    assert len(answers(turns)) == 4


def test_what_was_answered_survives_what_was_not(turns, server):
    """A run that stops at the third question had the answers of two, and had paid for them."""
    server.behaviours = ["well", "well", 500, 500]
    with pytest.raises(
        UsageError, match="1 turns got no answer .*InternalServerError.* the same command asks for the rest"
    ):
        run(turns, server)
    assert len(answers(turns)) == 3
    assert run(turns, server)["asked"] == 1
    assert Counter(entry["_id"] for entry in answers(turns)) == Counter(f"c_{n}" for n in range(4))


def test_an_answer_that_a_crash_cut_off_is_asked_for_again(turns, server):
    """Half a line would be an unreadable file at the next start, and all answers in it lost."""
    run(turns, server)
    path = turns.parent / ANSWERS
    path.write_bytes(path.read_bytes()[:-9])
    assert run(turns, server)["asked"] == 1
    assert len(answers(turns)) == 4


def test_a_server_that_does_not_answer(turns, server):
    """Without a limit of time the job would wait for ever."""
    server.behaviours = ["slow"] * 8
    with pytest.raises(UsageError, match="4 turns got no answer .*APITimeoutError"):
        run(turns, server, timeout=0.2, retries=0)


def test_a_server_that_is_gone_is_told_soon(tmp_path, server):
    """A thousand questions to a dead server, each with its retries, take an evening."""
    rows = [{"_id": f"c_{n}", "utterance": "why"} for n in range(30)]
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match="seems to be gone .*APIConnectionError"):
        rewrite(tmp_path, str(tmp_path / "turns.jsonl"), "toy", base_url="http://127.0.0.1:9/v1", retries=0)


@pytest.mark.parametrize(
    ("how", "message"), [(401, "refuses .*Authentication"), (404, "refuses .*NotFound"), ("other", "no choices")]
)
def test_a_question_that_can_never_be_answered_stops_at_once(turns, server, how, message):
    """A wrong key or model is wrong for all turns."""
    server.behaviours = [how] * 9
    with pytest.raises(UsageError, match=message):
        run(turns, server)
    assert len(server.questions) == 1


def test_answers_that_are_no_rewrite(turns, server):
    """A rewrite of one word, or with small talk behind it, would be the teacher's query."""
    server.behaviours = ["short", "well", "chatty", "empty", "empty"]
    assert run(turns, server)["empty"] == 1
    assert [entry["rewrite"] for entry in answers(turns)] == [
        "what about number 0 reworded in full",
        "what about number 1 reworded in full",
        "what about number 2",
        "what about number 3 reworded in full",
    ]
    assert server.questions[1]["temperature"] == 0.7
