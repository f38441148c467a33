"""Train many plans, learning rates and seeds at once, and say what can be concluded.

The room is not called `compare`, because a package of that name would hide the function `goodinit.compare`.
"""

from goodinit.comparing.compare import compare

__all__ = ["compare"]
