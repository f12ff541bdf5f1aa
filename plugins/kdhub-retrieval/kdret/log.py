"""Lines for whoever watches: into the log of a run, and on the console outside of one."""

from __future__ import annotations

import logging

from mmengine.logging import MMLogger, print_log

from kdhub.api import say

_OF_NO_RUN = "mmengine"
"""Name of the logger that mmengine makes where no run has made one; it prints to stdout, which is for results."""


def tell(line: str, warn: bool = False) -> None:
    """Tell one line.

    Args:
        line: The line.
        warn: Whether it has a consequence.
    """
    if MMLogger.get_current_instance().instance_name == _OF_NO_RUN:
        say(f"warning: {line}" if warn else line, "yellow" if warn else "")
    else:
        print_log(line, logger="current", level=logging.WARNING if warn else logging.INFO)
