"""Text from data, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape what a terminal would obey or hide: control characters, overrides of the writing direction, line ends.

    Args:
        text: Anything out of a file, such as a title or an id.

    Returns:
        The text, with each character that has no glyph of its own written as ``\x1b`` or ``\u202e``.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
