"""Operations on elements, and sums over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from goodinit.comparing.engines.compiled.loops import address, merged, nest
from goodinit.comparing.engines.compiled.program import Program, Value
from goodinit.comparing.engines.step import NotStackable

__all__ = ["POINTWISE", "VECTOR", "cast", "copy", "elementwise", "literal", "reduce", "variance"]

VECTOR = {"f": "V", "i": "N", "b": "N"}
"""The C++ type of a vector of each kind."""

# One-argument functions of the mathematical library: torch's name -> C's name.
LIBRARY = {
    name: name
    for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "exp2", "tanh", "sinh", "cosh", "sin", "cos", "tan",
        "asin", "acos", "atan", "asinh", "acosh", "atanh", "erf", "erfc", "lgamma", "floor", "ceil", "trunc",
    )
}  # fmt: skip


def _signed(x: str) -> str:
    return f"({x}>0?one:V{{}})-({x}<0?one:V{{}})"


# Torch's name -> C++ of operands of the kind that the result has (of the operands' own kind in comparisons).
_ARITHMETIC: dict[str, Callable[..., str]] = {
    **{name: (lambda x, c=c: f"m_{c}({x})") for name, c in LIBRARY.items()},
    "neg": lambda x: f"-{x}",
    "abs": lambda x: f"({x}<0?-{x}:{x})",
    "sign": _signed,
    "sgn": _signed,
    "relu": lambda x: f"({x}<=0?V{{}}:{x})",
    "sigmoid": lambda x: f"one/(one+m_exp(-{x}))",
    "sqrt": lambda x: f"m_sqrt({x})",
    "rsqrt": lambda x: f"one/m_sqrt({x})",
    "reciprocal": lambda x: f"one/{x}",
    "mul": lambda x, y: f"{x}*{y}",
    "div": lambda x, y: f"{x}/{y}",
    "maximum": lambda x, y: f"({x}!={x}|{x}>{y}?{x}:{y})",
    "minimum": lambda x, y: f"({x}!={x}|{x}<{y}?{x}:{y})",
    "atan2": lambda x, y: f"m_atan2({x},{y})",
    "pow": lambda x, y: f"m_pow({x},{y})",
    "bitwise_and": lambda x, y: f"{x}&{y}",
    "bitwise_or": lambda x, y: f"{x}|{y}",
    "bitwise_xor": lambda x, y: f"{x}^{y}",
    "bitwise_not": lambda x: f"~{x}",
    "logical_and": lambda x, y: f"{x}&{y}",
    "logical_or": lambda x, y: f"{x}|{y}",
    "logical_xor": lambda x, y: f"{x}^{y}",
    "logical_not": lambda x: f"~{x}",
}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
POINTWISE = frozenset(
    {*_ARITHMETIC, *_COMPARISONS, "add", "sub", "rsub", "where", "clamp", "clamp_min", "clamp_max", "addcmul",
     "addcdiv", "lerp", "isnan", "isinf", "fill", "masked_fill"}
)  # fmt: skip


def literal(number: float, kind: str) -> str:
    """Return a vector of one number."""
    if kind != "f":
        return f"(N{{}}+({int(number)}))" if kind == "i" else f"(N{{}}-{int(bool(number))})"
    if math.isnan(number):
        return "splat(NAN)"
    if math.isinf(number):
        return "splat(INFINITY)" if number > 0 else "splat(-INFINITY)"
    return f"splat((T){float(number)!r})"


def cast(expression: str, have: str, want: str) -> str:
    """Return an expression as another kind."""
    if have == want:
        return expression
    if want == "b":
        return f"({expression}!={'V' if have == 'f' else 'N'}{{}})"
    if have == "b":
        return f"({expression}&one)" if want == "x" else f"mask_to_{want}({expression})"
    return f"float_of({expression})" if want == "f" else f"int_of({expression})"


def elementwise(
    program: Program, name: str, operands: Sequence[object], kind: str, shape: Sequence[int]
) -> Value:
    """Return an operation on elements; operands are values or numbers."""
    return _map(
        program, shape, kind, operands, lambda parts, kinds: _expression(name, parts, kinds, operands, kind)
    )


def copy(program: Program, out: Value, source: Value) -> None:
    """Write a value into another of the same shape."""
    _into(program, out, [source], lambda parts, kinds: cast(parts[0], kinds[0], out.kind), also=())


def _map(
    program: Program,
    shape: Sequence[int],
    kind: str,
    operands: Sequence[object],
    expression: Callable[..., str],
) -> Value:
    out = program.new(shape, kind)
    _into(program, out, operands, expression, also=())
    return out


def _into(
    program: Program,
    out: Value,
    operands: Sequence[object],
    expression: Callable[..., str],
    also: Sequence[Value],
) -> None:
    values = [each.expanded(out.shape) for each in operands if isinstance(each, Value)]
    sizes, strides = merged(out.shape, [out.strides, *(value.strides for value in values)])
    names, parts, kinds, loads = iter(range(len(values))), [], [], []
    for each in operands:
        if isinstance(each, Value):
            at = next(names)
            loads.append(f"{VECTOR[each.kind]} x{at}=*({address(values[at].start, strides[1 + at])});")
            parts.append(f"x{at}")
            kinds.append(each.kind)
        else:
            parts.append(each)  # type: ignore[arg-type]
            kinds.append("number")
    body = f"{''.join(loads)}*({address(out.start, strides[0])})={expression(parts, kinds)};"
    program.do(nest(sizes, body), values, (out, *also))


def _expression(
    name: str, parts: Sequence[object], kinds: Sequence[str], operands: Sequence[object], kind: str
) -> str:
    def as_(index: int, want: str) -> str:
        part = parts[index]
        return literal(part, want) if kinds[index] == "number" else cast(str(part), kinds[index], want)  # type: ignore[arg-type]

    if name in _COMPARISONS:
        number = any(isinstance(part, float) for part in parts)
        both = "f" if "f" in kinds or number else "i" if "i" in kinds or "number" in kinds else "b"
        return f"({as_(0, both)}{_COMPARISONS[name]}{as_(1, both)})"
    if name in ("isnan", "isinf"):
        x = as_(0, "f")
        return f"({x}!={x})" if name == "isnan" else f"({x}==splat(INFINITY)|{x}==splat(-INFINITY))"
    if name == "where":
        return f"({as_(0, 'b')}?{as_(1, kind)}:{as_(2, kind)})"
    if name == "masked_fill":
        return f"({as_(1, 'b')}?{as_(2, kind)}:{as_(0, kind)})"
    if name == "fill":
        return as_(1, kind)
    if name in ("clamp", "clamp_min", "clamp_max"):
        low = 1 if name != "clamp_max" and parts[1] is not None else None
        high = 1 if name == "clamp_max" else 2 if len(parts) > 2 and parts[2] is not None else None
        found = as_(0, kind)
        if low is not None:
            found = f"({found}<{as_(low, kind)}?{as_(low, kind)}:{found})"
        return found if high is None else f"at_most({found},{as_(high, kind)})"
    if name in ("add", "sub", "rsub"):
        x, y = as_(0, kind), as_(1, kind)
        scale = parts[2] if len(parts) > 2 else 1
        y = y if scale == 1 else f"{literal(scale, kind)}*{y}"  # type: ignore[arg-type]
        return f"{y}-{x}" if name == "rsub" else f"{x}{'+' if name == 'add' else '-'}{y}"
    if name in ("addcmul", "addcdiv"):
        scale = literal(parts[3] if len(parts) > 3 else 1, kind)  # type: ignore[arg-type]
        return f"{as_(0, kind)}+{scale}*{as_(1, kind)}{'*' if name == 'addcmul' else '/'}{as_(2, kind)}"
    if name == "lerp":
        return f"{as_(0, kind)}+{as_(2, kind)}*({as_(1, kind)}-{as_(0, kind)})"
    if name == "pow" and kinds[1] == "number":
        return _power(as_(0, kind), float(parts[1]), kind)  # type: ignore[arg-type]
    if kind != "f" and name in LIBRARY | dict.fromkeys(
        ("div", "sqrt", "rsqrt", "sigmoid", "reciprocal", "pow")
    ):
        raise NotStackable(f"{name} of integers")
    return _ARITHMETIC[name](*(as_(index, kind) for index in range(len(parts))))


def _power(x: str, exponent: float, kind: str) -> str:
    """Return a power by products where the exponent is a small integer, or by a root."""
    if exponent == 0.5:
        return f"m_sqrt({x})"
    if exponent == -0.5:
        return f"one/m_sqrt({x})"
    if exponent == int(exponent) and 0 < abs(exponent) <= 8:
        product = "*".join([x] * abs(int(exponent)))
        return f"one/({product})" if exponent < 0 else f"({product})"
    return f"m_pow({x},{literal(exponent, kind)})"


# name -> (first value, how an element x joins z)
_JOINS = {
    "sum": ("@V{}", "z+=x"),
    "prod": ("one", "z*=x"),
    "amax": ("splat(-INFINITY)", "z=(x!=x|x>z)?x:z"),
    "amin": ("splat(INFINITY)", "z=(x!=x|x<z)?x:z"),
    "any": ("N{}", "z|=x"),
    "all": ("N{}-1", "z&=x"),
}


def reduce(program: Program, name: str, value: Value, dims: Sequence[int], keep: bool) -> Value:
    """Return the sum, mean, product, maximum, minimum, any or all over dimensions."""
    rank = len(value.shape)
    over = {dim % rank for dim in dims} if rank else set()
    kind = "b" if name in ("any", "all") else "i" if name == "sum" and value.kind != "f" else "f"
    if value.kind != kind:
        if kind == "f":
            raise NotStackable(f"it takes a {name} of integers")
        same = ["ne", value, 0] if kind == "b" else ["fill", value, value]
        value = elementwise(program, str(same[0]), same[1:], kind, value.shape)
    outside = [dim for dim in range(rank) if dim not in over]
    out = program.new([value.shape[dim] for dim in outside], kind)
    sizes, (into, lead) = merged(out.shape, [out.strides, [value.strides[dim] for dim in outside]])
    inner, (steps,) = merged(
        [value.shape[dim] for dim in sorted(over)], [[value.strides[dim] for dim in sorted(over)]]
    )
    vector = VECTOR[kind]
    first, join = _JOINS["sum" if name == "mean" else name]
    first = first.replace("@V", vector)
    count = math.prod(value.shape[dim] for dim in over)
    loop = nest(inner, f"{vector} x=*({address('a', steps, 's')});{join};", "s")
    last = f"z*splat((T){1 / count!r})" if name == "mean" and count else "z"
    program.do(
        nest(
            sizes,
            f"const {vector}*a={address(value.start, lead)};{vector} z={first};{loop}"
            f"*({address(out.start, into)})={last};",
        ),
        (value,),
        (out,),
    )
    if not keep:
        return out
    layout = out.layout
    for dim in sorted(over):
        layout = layout.unsqueeze(dim)
    return out.viewed(layout)


def variance(
    program: Program, value: Value, dims: Sequence[int], correction: float, keep: bool
) -> tuple[Value, Value]:
    """Return the variance and the mean over dimensions."""
    mean = reduce(program, "mean", value, dims, True)
    apart = elementwise(program, "sub", [value, mean], "f", value.shape)
    square = elementwise(program, "mul", [apart, apart], "f", value.shape)
    count = math.prod(value.shape[dim] for dim in dims)
    total = reduce(program, "sum", square, dims, keep)
    found = elementwise(
        program,
        "mul",
        [total, 1 / max(count - correction, 0) if count > correction else math.nan],
        "f",
        total.shape,
    )
    return found, mean if keep else mean.viewed(mean.layout.reshape(found.shape))
