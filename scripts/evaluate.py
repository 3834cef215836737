"""Run `twolayer evaluate` from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twolayer.__main__ import main

main(["evaluate", *sys.argv[1:]])
