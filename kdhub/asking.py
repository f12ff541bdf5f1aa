"""Many questions to a language model behind a server that speaks OpenAI's protocol; no paid answer is lost.

The client itself, ``openai``, is an extra of the plugins that ask, and imported when they do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from kdhub.errors import UsageError
from kdhub.jsonl import read_jsonl

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_GIVE_UP = 8
"""So many questions without an answer in a row, and the server is taken for gone."""
_NO_KEY = "none"
"""What is sent where no key is set."""


def openai_client(base_url: str | None, key_env: str, timeout: float, retries: int, extra: str) -> Any:
    """Make a client of any server that speaks OpenAI's protocol.

    Args:
        base_url: The server; ``None`` for OpenAI's.
        key_env: Environment variable that holds the key. Without it an empty key is sent, which local servers take.
        timeout: Seconds to wait for an answer.
        retries: How often a question is asked again if the server is busy (429), fails (5xx) or does not answer, each time after
            a longer pause, or after the one that the server asks for.
        extra: What to install if the client is not there, such as ``kdhub-retrieval[rewrite]``.

    Raises:
        UsageError: If the client is not installed.
    """
    try:
        import openai
    except ImportError as error:
        raise UsageError("the client for language models is not installed", fix=f"pip install '{extra}'") from error
    key = os.environ.get(key_env) or _NO_KEY
    return openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=retries)


def ask_all(
    ask: Callable[[Question], Answer], questions: Iterable[Question], concurrency: int, what: str = "questions"
) -> Iterator[tuple[Question, Answer]]:
    """Ask several questions at a time and yield answers as they come.

    Args:
        ask: Asks one; several threads call it.
        questions: What to ask.
        concurrency: Questions under way at once.
        what: What they are, for errors.

    Raises:
        UsageError: Once the others are answered, if some were not; if the server will never answer, as with a wrong key, once those
            under way are. Ctrl-C waits for these too, and a second one does not.
    """
    import openai

    fatal = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError, openai.BadRequestError)
    failures: list[str] = []
    in_a_row = 0
    stop: BaseException | None = None
    waiting = iter(questions)
    running: dict[Future[Answer], Question] = {}
    with ThreadPoolExecutor(concurrency) as pool:
        while True:
            try:
                if stop is None and in_a_row < _GIVE_UP:
                    for question in islice(waiting, concurrency - len(running)):
                        running[pool.submit(ask, question)] = question
                if not running:
                    break
                answered = wait(running, return_when=FIRST_COMPLETED).done
            except (Exception, KeyboardInterrupt) as error:
                if stop is not None:
                    raise
                # what is under way is paid for: no more is begun, and its answers are still given
                stop = error
                running = {future: question for future, question in running.items() if not future.cancel()}
                continue
            for future in answered:
                question = running.pop(future)
                try:
                    answer = future.result()
                except Exception as error:  # noqa: BLE001 - it is raised again, once the others are kept
                    if isinstance(error, openai.OpenAIError) and not isinstance(error, fatal):
                        failures.append(_said(error))
                        in_a_row += 1
                    else:
                        stop = stop or error
                    continue
                in_a_row = 0
                yield question, answer
    if isinstance(stop, fatal):
        # not "from" it: a traceback would show a key that the server repeats
        raise UsageError("the server refuses the question", where="job", got=_said(stop))
    if stop is not None:
        raise stop
    if failures:
        raise UsageError(
            "the server seems to be gone" if in_a_row >= _GIVE_UP else f"{len(failures)} {what} got no answer",
            where="job.base_url",
            got=failures[-1],
            fix="what was answered is kept; the same command asks for the rest",
        )


class AnswerLog:
    """A JSON Lines file of answers, each on the disk before the next is looked at. Use it in a ``with``.

    Args:
        path: The file; a last line that a crash cut off is taken away.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_file() and not (text := path.read_bytes()).endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(text.rfind(b"\n") + 1)

    def entries(self) -> list[dict[str, Any]]:
        """Read all that is there."""
        return [dict(entry) for _, entry in read_jsonl(self.path)] if self.path.is_file() else []

    def __enter__(self) -> AnswerLog:
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add an answer; it is on the disk when this returns."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _said(error: Exception) -> str:
    """Return what a server said, without the key that some repeat."""
    said = f"{type(error).__name__}: {error}"
    request = getattr(error, "request", None)
    key = request.headers.get("Authorization", "").removeprefix("Bearer ") if request is not None else ""
    if key and key != _NO_KEY:
        said = said.replace(key, "(the key)")
    return " ".join(said.split())[:200]
