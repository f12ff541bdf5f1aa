"""The job `kdret.Rewrite`: asks a language model to reword the last question of each conversation, and loses no paid answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdhub.api import AnswerLog, UsageError, ask_all, integer, number, openai_client, require, say
from kdret.data.conversations import Turn, read_turns

ANSWERS = "rewrites.jsonl"
INSTRUCTION = (
    "You read a conversation between a user and an assistant. Reword the user's last question so that it can be understood"
    " without the conversation: replace pronouns, and add what it leaves out. Do not answer it. Write the question alone."
)
_SAY_EVERY = 50


def rewrite(
    folder: Path,
    turns: str,
    model: str,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    instruction: str = INSTRUCTION,
    context: int = 3000,
    max_tokens: int = 64,
    min_words: int = 3,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 5,
) -> dict[str, Any]:
    """Ask any server that speaks OpenAI's protocol for a rewrite of each turn.

    Each answer is written to ``rewrites.jsonl`` of the folder as it comes. A turn that has one is never asked for again: after
    Ctrl-C, a crash or a server that was gone, the same command asks for the rest.

    Args:
        folder: Folder of the job.
        turns: File of conversations; see `kdret.data.conversations.read_turns`.
        model: Name by which the server knows the model.
        base_url: The server; ``None`` for OpenAI's. A local one is usually ``http://localhost:8000/v1``.
        api_key_env: Environment variable that holds the key. Without it an empty key is sent, which local servers take.
        instruction: What the model is told to do.
        context: How many characters of the conversation are sent at most, the newest; 3,000 as in the reproduction of DiSCo.
        max_tokens: How long an answer may be.
        min_words: A shorter answer is asked for once more, with sampling (temperature 0.7, top-p 0.9).
        concurrency: Questions under way at once.
        timeout: Seconds to wait for an answer.
        retries: How often a question is asked again if the server is busy (429), fails (5xx) or does not answer, each time after
            a longer pause, or after the one that the server asks for.

    Returns:
        ``turns``, ``asked`` now, and ``empty``: how many answers held no text, of which the question itself was kept.

    Raises:
        UsageError: If the client is not installed, the server refuses the key or the model, does not speak the protocol, or
            leaves questions without an answer; what was answered is kept.

    Source: Lupart et al. 2025, DiSCo, arXiv 2410.14609; card disco.md, section 4.
    """
    require("Rewrite", integer(1), context=context, max_tokens=max_tokens, concurrency=concurrency)
    require("Rewrite", integer(0), min_words=min_words, retries=retries)
    require("Rewrite", number(above=0), timeout=timeout)
    client = openai_client(base_url, api_key_env, timeout, retries, "kdhub-retrieval[rewrite]")
    path = Path(folder, ANSWERS)
    log = AnswerLog(path)
    done = {str(entry["_id"]) for entry in log.entries()}
    all_turns = read_turns(Path(turns).expanduser())
    missing = [turn for turn in all_turns if turn.id not in done]
    if done:
        say(f"{len(all_turns) - len(missing)} of {len(all_turns)} turns have a rewrite in {path}")
    server = _Server(client, model, instruction, context, max_tokens, min_words)
    with client, log:
        for count, (turn, answer) in enumerate(ask_all(server, missing, concurrency, "turns"), 1):
            log.write({"_id": turn.id, "rewrite": answer or turn.utterance, "model": model, "empty": not answer})
            if count % _SAY_EVERY == 0:
                say(f"rewrites {len(all_turns) - len(missing) + count}/{len(all_turns)}")
    empty = sum(bool(entry.get("empty")) for entry in log.entries())
    return {"turns": len(all_turns), "asked": len(missing), "empty": empty}


class _Server:
    """Asks one question at a time; several threads may share it."""

    def __init__(
        self, client: Any, model: str, instruction: str, context: int, max_tokens: int, min_words: int
    ) -> None:
        self._client = client
        self._model = model
        self._instruction = instruction
        self._context = context
        self._max_tokens = max_tokens
        self._min_words = min_words

    def __call__(self, turn: Turn) -> str:
        answer = self._ask(turn, temperature=0.0)
        if len(answer.split()) < self._min_words <= len(turn.utterance.split()):
            answer = self._ask(turn, temperature=0.7, top_p=0.9) or answer
        return answer

    def _ask(self, turn: Turn, **sampling: float) -> str:
        said = "\n".join(turn.history)[-self._context :]
        message = f"Conversation:\n{said}\n\nLast question: {turn.utterance}\n\nReworded question:"
        completion = self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "system", "content": self._instruction}, {"role": "user", "content": message}],
            max_tokens=self._max_tokens,
            **sampling,
        )
        choices = getattr(completion, "choices", None)
        if not choices:
            raise UsageError(
                "the server's answer has no choices",
                where="job.base_url",
                expected="a server that speaks OpenAI's chat protocol",
                got=str(completion)[:80],
            )
        lines = (choices[0].message.content or "").strip().splitlines()
        return lines[0].strip().strip('"') if lines else ""
