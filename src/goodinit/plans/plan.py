"""The plan: a table with one row for every parameter."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from goodinit.errors import PlanFileError
from goodinit.files import write_beside
from goodinit.plans.row import Row
from goodinit.records import PlanRecord, Verification
from goodinit.rng import ALGORITHM

if TYPE_CHECKING:
    from goodinit.initializers.base import Progress

__all__ = ["Plan"]

_FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """What fills every parameter of a model, and why; plain data, complete by construction.

    Made by `plan`, `initialize` or `Plan.load`; carried out by `apply_`; proved
    by `verify`. `str(plan)` shows the table.

    Attributes:
        rows: one `Row` per parameter, in order of registration.
        recipe: the name of the recipe that made it.
        model: the class name of the model that it was made for.
        notes: what a reader should know of how it was made, such as the example on which
            the model was traced.
    """

    rows: tuple[Row, ...]
    recipe: str
    model: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Row:
        """Return the row of a parameter by its name or by an alias."""
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, Row]:
        return {name: row for row in self.rows for name in (row.name, *row.aliases)}

    def override(self, overrides: Mapping[str, object]) -> Plan:
        """Return a plan in which other initializers fill what the patterns match.

        Args:
            overrides: {pattern: initializer}. A pattern is a parameter's exact name,
                a glob (``"*.bias"``; ``*`` matches dots too), or ``"re:"`` and a regular
                expression that matches the whole name. An initializer may be a number (a
                constant) or ``"keep"``. Later patterns win over earlier ones.

        Raises:
            OverrideError: if a pattern matches nothing or an initializer cannot fill a match.

        >>> from torch import nn
        >>> from goodinit import plan
        >>> plan(nn.Linear(2, 2), "lecun_normal").override({"bias": 0.5})["bias"].initializer
        Constant(value=0.5)
        """
        from goodinit.plans.overrides import override

        return dataclasses.replace(self, rows=override(self.rows, overrides))

    def apply_(
        self,
        model: nn.Module,
        *,
        seed: int = 0,
        engine: Literal["goodinit", "torch"] = "goodinit",
        device: torch.device | str | None = None,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Fill a model's parameters in place and return the model.

        Every value is a function of (seed, name, index): the same on every device
        and in every order. Nothing is written unless everything fits.

        Args:
            model: the model; its parameters must be those of the plan. Parameters on
                the meta device are made real first.
            seed: an integer in [0, 2⁶⁴).
            engine: ``"goodinit"``, or ``"torch"`` to draw from torch's own global stream
                as ``torch.nn.init`` does, in the order of the rows (set
                ``torch.manual_seed`` before; `seed` is not used).
            device: where meta parameters are made real (default: the CPU).
            progress: called with the number of elements filled, now and then.

        Raises:
            PlanMismatchError: if names or shapes differ, listing them.
            TensorError: if a parameter cannot be filled.

        >>> from torch import nn
        >>> from goodinit import plan
        >>> model = nn.Linear(3, 2)
        >>> plan(model, "lecun_normal").apply_(model, seed=7) is model
        True
        """
        from goodinit.plans.apply import apply_

        return apply_(self.rows, model, seed=seed, engine=engine, device=device, progress=progress)

    def verify(
        self, model: nn.Module | Mapping[str, torch.Tensor], *, seed: int | None = None
    ) -> Verification:
        """Test whether weights follow this plan.

        A constant or structured row is compared exactly (a structure to rounding), a
        random one by its bounds, mean, std and a Kolmogorov–Smirnov test, and rows
        that are copies of each other are found. With a seed every element is
        compared with what `apply_` writes under it.

        Args:
            model: a model or a state dict.
            seed: the seed that the weights are said to come from, if any.

        Returns:
            A `Verification`; true if everything passed. Weights that do follow the
            plan fail with probability at most `false_alarm_rate`.

        Raises:
            PlanMismatchError: if names or shapes differ, listing them.

        >>> from torch import nn
        >>> from goodinit import plan
        >>> model = nn.Linear(64, 64)
        >>> bool(plan(model, "torch").verify(model)), bool(plan(model, "kaiming_normal").verify(model))
        (True, False)
        """
        from goodinit.plans.verify import verify

        return verify(self.rows, model, seed=seed)

    def diff(self, other: Plan) -> tuple[tuple[str, Row | None, Row | None], ...]:
        """Return (name, row here, row there) for every parameter that the two plans fill differently.

        A row is None where that plan has no such parameter.
        """
        mine, theirs = {row.name: row for row in self.rows}, {row.name: row for row in other.rows}
        changed = []
        for name in dict.fromkeys((*mine, *theirs)):
            here, there = mine.get(name), theirs.get(name)
            same = here and there and (here.shape, here.initializer) == (there.shape, there.initializer)
            if not same:
                changed.append((name, here, there))
        return tuple(changed)

    def record(self) -> PlanRecord:
        """Return the plan as plain data, for rendering."""
        return PlanRecord(self.model, self.recipe, tuple(row.record() for row in self.rows), self.notes)

    def __str__(self) -> str:
        return str(self.record())

    def __rich__(self) -> Any:
        return self.record().__rich__()

    def to_html(self, path: str | Path) -> Path:
        """Write the plan as one HTML file that needs nothing else, and return its path.

        Raises:
            ArgumentError: if the file cannot be written.
        """
        return self.record().to_html(path)

    def _repr_html_(self) -> str:
        return self.record()._repr_html_()

    def to_json(self) -> str:
        """Return the plan as JSON text; `Plan.from_json` reads it back."""
        value = {
            "goodinit": "plan",
            "format": _FORMAT,
            "algorithm": ALGORITHM,
            "model": self.model,
            "recipe": self.recipe,
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }
        return json.dumps(value, indent=1, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Rebuild a plan from `to_json`'s text.

        Raises:
            PlanFileError: if the text is no plan, or of an unknown format or algorithm.
        """
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanFileError(f"not JSON: {error}") from error
        if not isinstance(value, dict) or value.get("goodinit") != "plan":
            raise PlanFileError('JSON, but no goodinit plan (no "goodinit": "plan")')
        if value.get("format") != _FORMAT:
            raise PlanFileError(f"plan format {value.get('format')!r}; this version reads format {_FORMAT}")
        if value.get("algorithm") != ALGORITHM:
            raise PlanFileError(
                f"made for the random algorithm {value.get('algorithm')!r}, this version has {ALGORITHM!r}: "
                "its values cannot be repeated here"
            )
        rows = value.get("rows")
        if not isinstance(rows, list):
            raise PlanFileError("a plan has a list of rows, found none")
        notes = value.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise PlanFileError(f"notes must be a list of texts, found {notes!r}")
        found = tuple(Row.from_json(row) for row in rows)
        names = [name for row in found for name in (row.name, *row.aliases)]
        twice = (
            next((name for name in names if names.count(name) > 1), None)
            if len(set(names)) < len(names)
            else None
        )
        if twice is not None:
            raise PlanFileError(f"the name {twice!r} stands in two rows")
        return Plan(found, str(value.get("recipe")), str(value.get("model")), tuple(notes))

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON; an existing file is replaced only once the new one is whole.

        Returns:
            The path.
        """
        return write_beside(path, self.to_json().encode() + b"\n")

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises:
            PlanFileError: if the file cannot be read or is no plan; the message names it.
        """
        try:
            return Plan.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanFileError(f"{path}: {error.strerror or error}") from error
        except (PlanFileError, UnicodeDecodeError) as error:
            raise PlanFileError(f"{path}: {error}") from error
