"""Run `twolayer curves` from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twolayer.__main__ import main

main(["curves", *sys.argv[1:]])
