"""Settings that all tests share: deterministic examples and one thread a process."""

from __future__ import annotations

import os

from hypothesis import settings

# Before torch is imported: the pytest workers share the cores, and a test that needs
# more threads asks for them itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples everywhere, so that a red run can be repeated; a stopwatch on a busy
# machine says nothing. `pytest --hypothesis-profile=explore` looks for new examples.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("repeatable")
