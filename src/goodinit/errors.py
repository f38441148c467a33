"""Every error that goodinit raises on purpose.

One base, `GoodinitError`. A user's mistake is a subclass of it *and* of
`ValueError` or `TypeError`, so that code written for ``torch.nn.init`` (which
raises those) keeps working. Messages say what is wrong, where, what was found
and how to cure it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "ExampleError",
    "GoodinitError",
    "ModelSourceError",
    "OverrideError",
    "PlanFileError",
    "PlanMismatchError",
    "TensorError",
    "UncoveredError",
    "UnhealthyError",
    "UnknownNameError",
    "WrongTypeError",
    "did_you_mean",
]


class GoodinitError(Exception):
    """Base of all errors that goodinit raises on purpose."""


class ArgumentError(GoodinitError, ValueError):
    """A value outside its domain: a negative std, an empty interval, a seed that is no integer."""


class WrongTypeError(GoodinitError, TypeError):
    """A value of the wrong type."""


class UnknownNameError(ArgumentError):
    """A name (recipe, activation, initializer) that does not exist; the nearest one is offered."""


class TensorError(GoodinitError, ValueError):
    """A tensor that cannot be filled: overlapping memory, integer dtype, wrong number of dimensions."""


class UncoveredError(GoodinitError, ValueError):
    """Parameters that no rule of the recipe covers, listed with shapes and with the way to cover them."""


class OverrideError(GoodinitError, ValueError):
    """An override that matches no parameter, or cannot fill what it matches."""


class PlanMismatchError(GoodinitError, ValueError):
    """A plan and a model that do not belong together: missing, extra or differently shaped parameters."""


class PlanFileError(GoodinitError, ValueError):
    """A plan file that cannot be read."""


class CheckpointError(GoodinitError, ValueError):
    """A file of weights that cannot be read or written."""


class ModelSourceError(GoodinitError, ValueError):
    """A model source such as ``package.module:callable`` that names nothing usable."""


class ExampleError(GoodinitError, ValueError):
    """A batch that the model rejects, or a model for which no batch can be guessed."""


class UnhealthyError(GoodinitError, AssertionError):
    """Raised by `Report.assert_healthy`; the message is the list of findings."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or an empty string.

    >>> did_you_mean("kaiming_norml", ["kaiming_normal", "orthogonal"])
    " (did you mean 'kaiming_normal'?)"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
