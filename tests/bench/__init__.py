"""The benchmarks: `python -m tests.bench`. What they are, and how to read them, is in docs/performance.md."""

import sys
from pathlib import Path

# The tests' own peers lie in folders that are no packages; each is on the path while tests run, and so here.
_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(_TESTS / "e2e"), str(_TESTS / "adapters" / "sip")]
