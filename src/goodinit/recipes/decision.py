"""What a rule says of one parameter, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from goodinit.graph import Graph, Place, Use
from goodinit.initializers import Initializer
from goodinit.records import Announced

__all__ = ["Decision", "Recipe", "Rule"]


@dataclass(frozen=True)
class Decision:
    """Which initializer fills a parameter, the fans it sees, and why.

    `fan_in` and `fan_out` are those of one block where the parameter is packed.
    `default` tells what the layer's own constructor puts there: a number for a
    constant, None for random values. It lets the author's intent be recognised.
    `announced` is what will not hold nevertheless.
    """

    initializer: Initializer
    why: str
    fan_in: float | None = None
    fan_out: float | None = None
    default: float | None = None
    announced: Announced | None = None


#: A rule looks at one use of a parameter and decides, or passes it on with None.
Rule = Callable[[Place, Use], Decision | None]


@dataclass(frozen=True)
class Recipe:
    """A named list of rules, tried in order; the first decision counts.

    Attributes:
        name: the name that users write.
        summary: one sentence.
        rules: functions from (place, use) to a `Decision` or None.
        traced: the rules to use instead where the model was traced, from its graph;
            None where the recipe has no use for one.
        layers_first: whether `traced` begins with `rules`, so that the graph decides only for
            what no layer's type covers.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    traced: Callable[[Graph], tuple[Rule, ...]] | None = None
    layers_first: bool = False
