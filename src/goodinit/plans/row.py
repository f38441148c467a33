"""One row of a plan: one parameter, what fills it, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from goodinit.errors import PlanFileError, WrongTypeError
from goodinit.initializers import Initializer
from goodinit.initializers.base import non_negative
from goodinit.records import Announced, RowRecord
from goodinit.records.form import from_jsonable, to_jsonable

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """What fills one parameter, with resolved numbers, and why.

    Attributes:
        name: canonical dotted name, the first registered one if tied.
        shape: shape of the parameter.
        initializer: the concrete initializer.
        fan_in: inputs that one output sums over (of one block if packed), or None.
        fan_out: outputs that one input reaches (of one block if packed), or None.
        why: the reason, for a reader.
        aliases: the other names of a tied parameter.
        announced: what will not hold nevertheless, with the predicted number, or None.
        asked: the initializer before its scale was resolved, such as
            ``VarianceScaling(gain=1.0, mode='fan_in', distribution='normal')``.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    fan_in: float | None
    fan_out: float | None
    why: str
    aliases: tuple[str, ...] = ()
    asked: Initializer | None = None
    announced: Announced | None = None

    @property
    def mean(self) -> float | None:
        """Exact mean of the filled values, None where the values are kept."""
        return self.initializer.moments(self.shape)[0] if self.initializer.writes else None

    @property
    def std(self) -> float | None:
        """Exact std of the filled values, None where the values are kept."""
        return self.initializer.moments(self.shape)[1] if self.initializer.writes else None

    def record(self) -> RowRecord:
        """Return the row as plain data."""
        return RowRecord(
            name=self.name,
            shape=self.shape,
            initializer=repr(self.initializer),
            mean=self.mean,
            std=self.std,
            fan_in=self.fan_in,
            fan_out=self.fan_out,
            why=self.why,
            aliases=self.aliases,
            announced=self.announced,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values. `mean` and `std` are for readers; they are not read back."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "initializer": self.initializer.to_json(),
            "mean": self.mean,
            "std": self.std,
            "fan_in": self.fan_in,
            "fan_out": self.fan_out,
            "why": self.why,
            "aliases": list(self.aliases),
            "asked": self.asked.to_json() if self.asked else None,
            "announced": to_jsonable(self.announced),
        }

    @staticmethod
    def from_json(value: Any) -> Row:
        """Rebuild a row from `to_json`'s values.

        Raises:
            PlanFileError: if a field is missing or has the wrong form.
        """
        if not isinstance(value, dict):
            raise PlanFileError(f"a row is a JSON object, found {value!r}")
        name = value.get("name")
        try:
            row = Row(
                name=_text(value["name"], "name"),
                shape=tuple(_length(length) for length in _list(value["shape"], "shape")),
                initializer=Initializer.from_json(value["initializer"]),
                fan_in=_fan(value["fan_in"], "fan_in"),
                fan_out=_fan(value["fan_out"], "fan_out"),
                why=_text(value["why"], "why"),
                aliases=tuple(
                    _text(alias, "aliases") for alias in _list(value.get("aliases", []), "aliases")
                ),
                asked=Initializer.from_json(value["asked"]) if value.get("asked") else None,
                announced=_announced(value.get("announced")),
            )
            if row.initializer.writes:
                row.initializer.moments(row.shape)  # a structure that does not fit its shape is caught here
            return row
        except (KeyError, TypeError, ValueError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise PlanFileError(f"row {name!r}: {what}") from error


def _announced(value: Any) -> Announced | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise WrongTypeError(f"announced must be an object, found {value!r}")
    made = from_jsonable(Announced, value)
    _text(made.what, "what")
    _text(made.quantity, "quantity")
    _length(made.depth)
    return made


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise WrongTypeError(f"{field} must be text, found {value!r}")
    return value


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise WrongTypeError(f"{field} must be a list, found {value!r}")
    return value


def _length(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WrongTypeError(f"shape must hold whole numbers from 0, found {value!r}")
    return value


def _fan(value: Any, field: str) -> float | None:
    return None if value is None else non_negative("a row", field, value)
