"""Tokenizers: loaded once by name, with a token to pad with, or made out of text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from kdhub.api import UsageError, data_places, integer, near_matches, read_lines, require

END_OF_TEXT = "<|endoftext|>"
"""The name that GPT-2 gave the token which ends a text."""


@functools.lru_cache(maxsize=16)
def load_tokenizer(name: str) -> Any:
    """Load a tokenizer of transformers, and see that it has a token to pad with.

    Args:
        name: A folder, or a name on the Hugging Face hub, such as ``gpt2``.

    Returns:
        The tokenizer. One without a pad token, as GPT-2's, pads with its end-of-text token, and the log says so.

    Raises:
        UsageError: If there is no such tokenizer, or it has neither of the two tokens.
    """
    from transformers import AutoTokenizer

    folder = Path(name).expanduser()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else name)
    except (OSError, ValueError, KeyError) as error:
        siblings = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] if folder.parent.is_dir() else []
        raise UsageError(
            f"cannot load the tokenizer {name!r}",
            expected="a folder with tokenizer.json, or a name on the hub",
            got=" ".join(str(error).split())[:200] or type(error).__name__,
            near=near_matches(folder.name, siblings),
            fix="check the name; with HF_HUB_OFFLINE=1 only what was downloaded before can be used",
        ) from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise UsageError(
                f"the tokenizer {name!r} has neither a pad token nor an end-of-text token",
                fix="give it one: tokenizer.add_special_tokens({'pad_token': '<pad>'}); tokenizer.save_pretrained(FOLDER)",
            )
        tokenizer.pad_token = tokenizer.eos_token
        print_log(f"{name}: no pad token; texts are padded with {tokenizer.eos_token!r}, masked out", "current")
    return tokenizer


def train_tokenizer(folder: Path, files: Sequence[str], size: int = 4096, max_length: int = 1024) -> dict[str, Any]:
    """Make a byte-level BPE tokenizer out of text files; a job.

    Any text can be encoded with it, as its alphabet is the 256 bytes. Its only special token, ``<|endoftext|>``, ends a text and pads.

    Args:
        folder: Folder of the job; the tokenizer goes into ``folder/tokenizer``.
        files: Text files, one text a line, plain or gzipped.
        size: Tokens in the vocabulary, at least 257: the bytes and the end of text.
        max_length: The length that it records as the longest text of its models.

    Returns:
        ``vocabulary``, how many tokens it has: fewer than ``size`` where the text holds no more pairs to merge.

    Raises:
        UsageError: For a size below 257, no files, or a file that cannot be read.
    """
    require("train_tokenizer", integer(257), size=size)
    require("train_tokenizer", integer(1), max_length=max_length)
    if isinstance(files, str) or not files:
        raise UsageError("no text files", where="job.files", expected="a list of paths", got=repr(files))
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    paths = [found_file(file, "job.files") for file in files]
    tokenizer.train_from_iterator((line for path in paths for _, line in read_lines(path)), trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT, model_max_length=max_length
    ).save_pretrained(str(Path(folder, "tokenizer")))
    return {"vocabulary": tokenizer.get_vocab_size()}


def found_file(path: str | Path, where: str) -> Path:
    """Return a file that a config names, also where ``KDHUB_DATA`` says that ``data/`` is.

    Args:
        path: As written in the config.
        where: Key path, for the error.

    Raises:
        UsageError: If there is none.
    """
    places = data_places(path)
    for place in places:
        if place.is_file():
            return place
    folder = places[-1].parent
    raise UsageError(
        f"no file {path}",
        where=where,
        near=near_matches(places[-1].name, [one.name for one in folder.iterdir()] if folder.is_dir() else []),
        fix="check the path; data/ may lie elsewhere: set KDHUB_DATA",
    )
