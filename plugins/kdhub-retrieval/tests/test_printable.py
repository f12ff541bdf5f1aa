"""What a terminal is shown of texts that nobody has checked."""

import pytest

from kdhub.errors import UsageError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ünïcode 你好 \U0001f600 \\n", "plain Ünïcode 你好 \U0001f600 \\n"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\x00\b\r\n\t\x7fb", r"a\x00\x08\r\n\t\x7fb"),
        ("\x9b2J", r"\x9b2J"),
        ("user\u202egpj.exe", r"user\u202egpj.exe"),
        ("\u2066a\u2069\u200e\u200b\ufeff", r"\u2066a\u2069\u200e\u200b\ufeff"),
        ("\u2028\u2029\U000e0041\ud800", r"\u2028\u2029\U000e0041\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    """A document's title could clear the screen, change the window's title, or show an id backwards."""
    assert printable(text) == shown


def test_errors_escape_it_too():
    """Errors name files and ids of data that nobody has checked."""
    assert (
        str(UsageError("no mask", where="\x1b[2J\u202e.png", got="a\x9b")) == r"\x1b[2J\u202e.png: no mask (got a\x9b)"
    )
