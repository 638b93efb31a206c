"""Lets the tests of this folder share dsl_support.py and dsl_strategies.py by plain imports."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
