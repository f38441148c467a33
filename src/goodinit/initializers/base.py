"""The `Initializer` value: what fills one tensor, as frozen data.

A kind of initializer is a frozen dataclass. Defining it registers it, so that it
is read back from JSON and enters the shared contract tests.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean
from goodinit.initializers.sharding import is_distributed, local_parts
from goodinit.rng import Region
from goodinit.rng.memory import check_apart, check_writable
from goodinit.rng.writing import is_fake

__all__ = ["KINDS", "Initializer", "Progress", "finite", "non_negative"]

Progress = Callable[[int], None]

_PLAIN = (torch.Tensor, torch.nn.Parameter)

#: Every kind of initializer by its class name.
KINDS: dict[str, type[Initializer]] = {}


@dataclass(frozen=True)
class Initializer:
    """What fills a tensor: a distribution or a structure, with its numbers.

    Values are frozen, hashable, comparable, and survive JSON unchanged. A value
    whose numbers depend on fans (`VarianceScaling`) becomes concrete by `resolve`.
    """

    #: True where each element depends on its own index alone, so that any slice
    #: can be drawn without the rest; False where a whole matrix is factorized.
    elementwise: ClassVar[bool] = True
    #: False only for `Keep`, which leaves the tensor as it is.
    writes: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        if cls.__name__ != "Structured":  # the base of the structures is no kind of its own
            KINDS[cls.__name__] = cls

    @property
    def deterministic(self) -> bool:
        """True where the initializer and the shape alone fix every value."""
        return False

    # --- numbers -----------------------------------------------------------------

    def resolve(
        self, shape: tuple[int, ...], fan_in: float | None = None, fan_out: float | None = None
    ) -> Initializer:
        """Return the concrete initializer for a tensor of this shape and these fans.

        Args:
            shape: the shape of the tensor to fill.
            fan_in: number of inputs that one output sums over; None if unknown.
            fan_out: number of outputs that one input reaches; None if unknown.
        """
        return self

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Return the exact (mean, std) of the elements of a filled tensor of this shape."""
        return self._mean(), self._std()

    def _mean(self) -> float:
        return float(self.mean)  # type: ignore[attr-defined]

    def _std(self) -> float:
        return float(self.std)  # type: ignore[attr-defined]

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest closed interval that holds every value."""
        return -math.inf, math.inf

    # --- filling -----------------------------------------------------------------

    def fill_(
        self,
        tensor: torch.Tensor,
        key: int,
        *,
        part: Region | None = None,
        block: Region | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Fill `tensor` in place under a key and return it.

        Args:
            tensor: what to fill, of any floating dtype and memory layout. Of a DTensor
                each rank fills the part that it holds, without communication.
            key: 64-bit key, see `goodinit.rng.derive_key`.
            part: the box of the global tensor that `tensor` is (default: all of it).
            block: the box of the global tensor that this initializer fills as one
                array (default: all of it). It contains `part`.
            progress: called with the number of elements done, now and then.
        """
        if part is block is None and type(tensor) in _PLAIN and self._fill_common(tensor, key, progress):
            return tensor
        part = part or Region.whole(tuple(tensor.shape))
        block = block or (part if part.is_whole else Region.whole(part.shape))
        if not tensor.numel() or tensor.is_meta or is_fake(tensor):
            return tensor
        if is_distributed(tensor):
            with torch.no_grad():
                for local, box in local_parts(tensor):
                    _check(local)
                    self._fill(local, key, box, block, progress)
        else:
            _check(tensor)
            # What is written is no step of a computation; detach() is sooner done than no_grad().
            self._fill(tensor.detach() if tensor.requires_grad else tensor, key, part, block, progress)
        return tensor

    def _fill_common(self, tensor: torch.Tensor, key: int, progress: Progress | None) -> bool:
        """Fill a tensor of no special kind that is all of the global one; False leaves it to `_fill`."""
        return False

    def _fill(
        self, tensor: torch.Tensor, key: int, part: Region, block: Region, progress: Progress | None
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how it fills")

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Fill `tensor` from torch's own stream, exactly as ``torch.nn.init`` does, and return it.

        For repeating an old run: the values depend on the order of all draws before.
        """
        raise ArgumentError(f"torch.nn.init has nothing like {self!r}; use engine='goodinit'")

    # --- JSON --------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `Initializer.from_json` reads them back."""
        fields = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"kind": type(self).__name__, **fields}

    @staticmethod
    def from_json(value: Any) -> Initializer:
        """Rebuild an initializer from `to_json`'s values.

        Raises:
            WrongTypeError: if the value is no JSON object.
            UnknownNameError: if its kind is unknown.
            ArgumentError: if its fields do not fit the kind.
        """
        if not isinstance(value, dict):
            raise WrongTypeError(f"an initializer in JSON is an object with a 'kind', found {value!r}")
        kind = value.get("kind")
        if kind not in KINDS:
            raise UnknownNameError(
                f"no initializer of kind {kind!r}{did_you_mean(str(kind), KINDS)}; known: {', '.join(KINDS)}"
            )
        cls = KINDS[kind]
        names = {f.name for f in dataclasses.fields(cls)}
        found = {key: item for key, item in value.items() if key != "kind"}
        if set(found) - names:
            raise ArgumentError(
                f"{kind} has no field {sorted(set(found) - names)[0]!r}; it has {sorted(names)}"
            )
        return cls(**{key: _revive(item) for key, item in found.items()})


def _check(tensor: torch.Tensor) -> None:
    check_apart(tensor)
    check_writable(tensor)


def _plain(value: Any) -> Any:
    if isinstance(value, Initializer):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # float("inf") reads it back; JSON itself has no infinity
    return value


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        return Initializer.from_json(value)
    if isinstance(value, list):
        return tuple(_revive(item) for item in value)
    return float(value) if value in ("inf", "-inf") else value


def finite(owner: str, name: str, value: float) -> float:
    """Return `value` as a float, or raise for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongTypeError(f"{owner}: {name} must be a number, found {value!r}")
    try:
        number = float(value)
    except OverflowError as error:
        raise ArgumentError(f"{owner}: {name} must fit a float, found an integer beyond its range") from error
    if not math.isfinite(number):
        raise ArgumentError(f"{owner}: {name} must be finite, found {value!r}")
    return number


def non_negative(owner: str, name: str, value: float) -> float:
    """Return `value` as a float, or raise for a negative or non-finite number."""
    number = finite(owner, name, value)
    if number < 0:
        raise ArgumentError(f"{owner}: {name} must be at least 0, found {value!r}")
    return number
