"""Makes ``tests/models/plain_nets.py`` importable, here and in subprocesses."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
