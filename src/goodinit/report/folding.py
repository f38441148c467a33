"""Names that differ only in whole numbers, as one name with ranges."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

__all__ = ["fold"]

_T = TypeVar("_T")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def fold(
    items: Sequence[_T], name: Callable[[_T], str], key: Callable[[_T], Hashable]
) -> list[tuple[str, list[_T]]]:
    """Put items together whose keys are equal and whose names differ only in numbers between dots.

    Args:
        items: in the order to show.
        name: dotted name of an item.
        key: what else must be equal.

    Returns:
        (name with ranges, the items), in order of first appearance.

    >>> fold(["a.0.w", "a.1.w", "a.7.w", "b"], name=str, key=len)
    [('a.{0,1,7}.w', ['a.0.w', 'a.1.w', 'a.7.w']), ('b', ['b'])]
    """
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault((_NUMBER.sub("#", name(item)), key(item)), []).append(item)
    return [(_joined([name(item) for item in group]), group) for group in groups.values()]


def _joined(names: Sequence[str]) -> str:
    columns = zip(*([int(n) for n in _NUMBER.findall(name)] for name in names), strict=True)
    ranges = iter([_range(column) for column in columns])
    return _NUMBER.sub(lambda _: next(ranges), names[0])


def _range(values: Sequence[int]) -> str:
    distinct = sorted(set(values))
    if len(distinct) == 1:
        return str(distinct[0])
    if len(distinct) > 2 and distinct == list(range(distinct[0], distinct[-1] + 1)):
        return f"{{{distinct[0]}..{distinct[-1]}}}"
    return f"{{{','.join(map(str, distinct[:3]))}{',…' if len(distinct) > 3 else ''}}}"
