"""Read an initializer from the command line. Names and literals only: nothing is executed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from goodinit.errors import GoodinitError, OverrideError, did_you_mean

__all__ = ["read_initializer", "read_overrides"]


def read_overrides(texts: Sequence[str]) -> dict[str, object]:
    """Return {pattern: initializer} from texts ``PATTERN=INIT``, in order.

    The pattern ends at the first ``=`` after which an expression stands, so that a
    regular expression may contain the sign too.

    Raises:
        OverrideError: if a text is no override; the message quotes it.

    >>> read_overrides(["*.bias=0", "head.weight=Normal(std=0.02)"])
    {'*.bias': 0, 'head.weight': Normal(mean=0.0, std=0.02)}
    """
    found: dict[str, object] = {}
    for text in texts:
        pattern, value = _split(text)
        try:
            found.pop(pattern, None)  # given again: it moves to its later place
            found[pattern] = read_initializer(value)
        except GoodinitError as error:
            raise OverrideError(f"--override {text!r}: {error}") from error
    return found


def _split(text: str) -> tuple[str, str]:
    signs = [index for index, letter in enumerate(text) if letter == "="]
    if not signs or signs[0] == 0:
        raise OverrideError(
            f"--override {text!r}: expected PATTERN=INIT, "
            "for example 'head.weight=Normal(std=0.02)' or '*.bias=0'"
        )
    at = next((index for index in signs if index > 0 and _parsed(text[index + 1 :]) is not None), signs[0])
    return text[:at], text[at + 1 :]


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def read_initializer(text: str) -> object:
    """Return what a text such as ``Normal(std=0.02)``, ``0`` or ``keep`` stands for.

    Args:
        text: a number, ``keep``, the name of an initializer, or a call of one with
            numbers, strings, tuples and other initializers as arguments.

    Returns:
        An `Initializer`, a number, or ``"keep"``.

    Raises:
        OverrideError: if it is none of these, or does not fit the initializer.

    >>> read_initializer("TruncatedNormal(std=0.02, cutoff=3)").cutoff
    3.0
    """
    parsed = _parsed(text)
    if parsed is None:
        raise OverrideError(
            f"cannot read {text!r}; write an initializer such as Normal(std=0.02), a number, or keep"
        )
    try:
        value = _value(parsed)
    except RecursionError:
        raise OverrideError("the expression is nested too deeply") from None
    if value == "keep" or _is_initializer(value) or _is_number(value):
        return value
    raise OverrideError(f"{text!r} is neither an initializer, nor a number, nor keep")


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        if _is_number(value):
            return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Name):
        return "keep" if node.id == "keep" else _made(_kind(node.id), (), {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if any(isinstance(item, ast.Starred) for item in node.args) or any(
            item.arg is None for item in node.keywords
        ):
            raise OverrideError("* and ** cannot be used here")
        keywords = {str(item.arg): _value(item.value) for item in node.keywords}
        return _made(_kind(node.func.id), tuple(_value(item) for item in node.args), keywords)
    raise OverrideError(
        f"cannot use {ast.unparse(node)!r} here: only numbers, strings, tuples, keep, and initializers "
        f"({', '.join(_known())})"
    )


def _known() -> dict[str, Callable[..., Any]]:
    from goodinit import initializers

    names = [name for name in initializers.__all__ if name[0].isupper() and not name.isupper()]
    return {name: getattr(initializers, name) for name in names if name != "Initializer"}


def _kind(name: str) -> Callable[..., Any]:
    known = _known()
    if name in known:
        return known[name]
    same = {each.lower(): each for each in known}.get(name.lower().replace("_", ""))
    hint = f" (did you mean {same!r}?)" if same else did_you_mean(name, known)
    raise OverrideError(f"no initializer {name!r}{hint}; there are: {', '.join(known)}")


def _made(kind: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    signature = inspect.signature(kind)
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        form = ", ".join(
            name if each.default is each.empty else f"{name}={each.default!r}"
            for name, each in signature.parameters.items()
        )
        raise OverrideError(f"{error}; it is {kind.__name__}({form})") from error
    try:
        return kind(*arguments, **keywords)
    except GoodinitError:
        raise
    except (TypeError, ValueError) as error:
        raise OverrideError(f"{kind.__name__}: {error}") from error


def _is_initializer(value: object) -> bool:
    from goodinit.initializers import Initializer

    return isinstance(value, Initializer)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
