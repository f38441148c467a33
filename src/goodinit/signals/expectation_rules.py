"""What each ATen operation does to expected moments; an operation without a rule gives nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectation import (
    Expected,
    Level,
    contracted,
    from_data,
    known_factor,
    scaled,
    settled,
    shared_mean,
    shifted,
    spread,
    summed,
)

__all__ = ["CONTRACTIONS", "RULES", "Attention", "Found", "Shadow", "contraction", "pointwise"]


class Attention:
    """Weights of an attention: a softmax of something expected; its values are at hand."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights.detach()


Found = Expected | Level | Attention | None
Shadow = Callable[[Any], Found]

# Operation -> places of the signal and of the weight (either may be the other), and of the addend.
CONTRACTIONS = {
    "mm": (0, 1, None),
    "bmm": (0, 1, None),
    "addmm": (1, 2, 0),
    "baddbmm": (1, 2, 0),
    "linear": (0, 1, 2),
    "convolution": (0, 1, 2),
    "mv": (0, 1, None),
}


def contraction(name: str, args: Sequence[Any], shadow: Shadow, output: Tensor, kwargs: Any) -> Found:
    """Weights times a signal; which of the two operands is the weight follows from what is known of them."""
    left, right, addend = CONTRACTIONS[name]
    bias = args[addend] if addend is not None and len(args) > addend else None
    if any(value != 1 for value in kwargs.values()) or (name in ("addmm", "baddbmm") and len(args) > 3):
        return None
    first, second = shadow(args[left]), shadow(args[right])
    if isinstance(first, Attention) and isinstance(second, Expected) and name == "bmm":
        return _mixed(first, second)
    one, other = isinstance(first, Expected), isinstance(second, Expected)
    if one == other:
        return None
    x = first if one else second
    weight = args[right if one else left]
    assert isinstance(x, Expected)
    if name == "convolution":
        if not one:
            return None
        shape = (1, -1, *(1,) * (output.ndim - 2))
        bias = None if bias is None else bias.reshape(shape)
        rest = args[3:]
        return contracted(
            x, weight, lambda q, w: torch.ops.aten.convolution(q, w, None, *rest), bias, 1 - output.ndim, output.shape[1]
        )
    if name == "linear":
        return contracted(x, weight, torch.nn.functional.linear, bias, -1, output.shape[-1])
    multiply = torch.mv if name == "mv" else torch.matmul
    if one:
        units = output.shape[-1] if name != "mv" else 1
        return contracted(x, weight, lambda q, w: multiply(q, w), bias, -1, units)
    return contracted(x, weight, lambda q, w: multiply(w, q), bias, -2, output.shape[-2] if output.ndim > 1 else 1)


def _mixed(attention: Attention, value: Expected) -> Expected:
    """Means over positions with known weights: between positions that are all alike and all different.

    E[(Σ a_j v_j)²] lies between Σ a_j² E[v_j²] and Σ a_j E[v_j²].
    """
    value = settled(value)
    a = attention.weights.cpu().double()
    low, high = a**2 @ value.q, a @ value.q
    p = torch.minimum(a @ value.p, high.detach())
    low = torch.maximum(low.detach(), p)
    middle = (low * high.detach()).sqrt()
    gap = _half_width(low, high.detach())
    back = (torch.where(high.detach() > 0, middle / high.detach().clamp_min(1e-300), 0.0),)[0]
    q = known_factor(high, middle, back)
    return replace(
        value,
        q=q,
        m=a @ value.m,
        p=p,
        gap=value.gap + gap,
        back_gap=value.back_gap + gap,
        normal=value.normal,
        held=False,
        token=object(),
    )


def _half_width(low: Tensor, high: Tensor) -> float:
    a, b = float(low.mean()), float(high.mean())
    return math.log(b / a) / 2 if 0 < a <= b < math.inf else 0.0


# -- pointwise operations


def pointwise(func: Any, args: Sequence[Any], kwargs: dict[str, Any], shadow: Shadow) -> Found:
    """Sums, products, scales, and functions of one variable."""
    name = func.overloadpacket.__name__.rstrip("_")
    signals = [(at, found) for at, value in enumerate(args) if (found := shadow(value)) is not None]
    if any(isinstance(found, Attention) for _, found in signals):
        return signals[0][1] if len(signals) == 1 and name in ("mul", "div", "clone", "_to_copy") else None
    levels = [found for _, found in signals if isinstance(found, Level)]
    expected = [found for _, found in signals if isinstance(found, Expected)]
    if levels:
        return _with_level(func, name, args, kwargs, shadow, expected, levels)
    if name in ("clone", "_to_copy", "copy", "alias", "lift_fresh"):
        return expected[0] if len(expected) == 1 and shadow(args[0]) is not None else None
    known = [at for at, value in enumerate(args) if isinstance(value, Tensor) and shadow(value) is None]
    if len(expected) == 2 and expected[0].token != expected[1].token:
        return _of_two(name, args, kwargs, expected[0], expected[1])
    if any(args[at].numel() > 1 for at in known):
        if len(expected) != 1 or len(known) != 1 or len(args) > 2:
            return None
        return _with_numbers(name, args, kwargs, expected[0], known[0], args[known[0]])
    before = [None if shadow(value) is None else _before(shadow(value)) for value in args]

    def program(x: Tensor) -> Tensor:
        values = [
            value if given is None else given(x).clone() for value, given in zip(args, before, strict=True)
        ]
        # Known numbers of one element may live on another device or in another dtype.
        values = [v.double().cpu() if isinstance(v, Tensor) and v is not x and v.numel() == 1 else v for v in values]
        out: Tensor = func(*values, **kwargs)
        return out

    # A linear function of one Gaussian is a Gaussian.
    if len(expected) == 1 and expected[0].program is None and name in ("mul", "div", "neg", "add", "sub"):
        zero = torch.zeros(1, dtype=torch.float64)
        base = program(zero)
        factor = program(zero + 1) - base
        if bool(torch.isclose(program(zero + 2) - base, 2 * factor)):
            return shifted(scaled(expected[0], factor), base) if float(base) else scaled(expected[0], factor)
    return replace(expected[0], program=program)


def _before(x: Any) -> Callable[[Tensor], Tensor]:
    return x.program if x.program is not None else (lambda value: value)


def _of_two(name: str, args: Sequence[Any], kwargs: dict[str, Any], x: Expected, y: Expected) -> Found:
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    if name in ("add", "sub") and alpha == 1:
        if x.q.shape != y.q.shape:
            shape = torch.broadcast_shapes(x.q.shape, y.q.shape)
            x, y = (settled(v).moved(lambda t: t.expand(shape), object()) for v in (x, y))
        return summed(x, y, 1.0 if name == "add" else -1.0)
    if name != "mul":
        return None
    x, y = settled(x), settled(y)
    wider = x if x.q.ndim >= y.q.ndim else y
    return replace(
        wider,
        q=x.q * y.q,
        m=x.m * y.m,
        p=x.p * y.p,
        units=min(x.units, y.units),
        s=(math.sqrt(spread(x)) + math.sqrt(spread(y))) ** 2 + 4 / min(x.units, y.units),
        t=(x.t + y.t) / 2 + 4 / min(x.units, y.units),
        gap=x.gap + y.gap,
        back_gap=x.back_gap + y.back_gap,
        fuzz=x.fuzz + y.fuzz,
        normal=False,
        held=False,
        token=object(),
    )


def _with_numbers(
    name: str, args: Sequence[Any], kwargs: dict[str, Any], x: Expected, at: int, numbers: Tensor
) -> Found:
    if kwargs or not numbers.is_floating_point():
        return None
    if not bool(torch.isfinite(numbers).all()):
        return None
    if name == "mul":
        return scaled(x, numbers)
    if name == "div" and at == 1:
        return scaled(x, 1 / numbers.double())
    if name == "add" or (name == "sub" and at == 1):
        return shifted(x, numbers if name == "add" else -numbers)
    return None


def _with_level(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    shadow: Shadow,
    expected: Sequence[Expected],
    levels: Sequence[Level],
) -> Found:
    if not expected:
        if len(levels) > 1:
            return None
        values = [found.value if isinstance(found := shadow(v), Level) else v for v in args]
        out = func(*(v.cpu().double() if isinstance(v, Tensor) else v for v in values), **kwargs)
        return replace(levels[0], value=out)
    if len(expected) > 1 or len(levels) > 1 or len(args) > 2 or kwargs:
        return None
    x, level = expected[0], levels[0]
    own = x.token == level.token
    if name in ("add", "sub") and (name == "add" or shadow(args[1]) is level):
        moved = shifted(x, level.value if name == "add" else -level.value)
        return replace(moved, token=x.token)
    if name not in ("mul", "div") or (name == "div" and shadow(args[1]) is not level):
        return None
    found = scaled(x, level.value if name == "mul" else 1 / level.value)
    if not own:
        return replace(found, s=found.s + level.spread, gap=found.gap + level.gap)
    return replace(
        found,
        s=0.0,
        gap=0.0,
        t=found.t + spread(x) + 2 / x.units,
        back_gap=found.back_gap + found.gap,
        held=True,
    )


# -- norms


def _normalised(x: Found, like: Tensor, dims: Sequence[int], eps: float, centred: str) -> Expected:
    """Divide by the root of the second moment over `dims`; of an unknown tensor that is known too.

    `centred` says what is subtracted before: ``"mean"`` (layer norm), ``"batch"`` (what all samples
    share) or nothing.
    """
    if not isinstance(x, Expected):
        ones = torch.ones(like.shape, dtype=torch.float64)
        axis = 1 - like.ndim if centred == "batch" or len(dims) > 1 and like.ndim > 2 else -1
        zeros = torch.zeros_like(ones)
        return Expected(ones.clone().requires_grad_(), zeros, zeros, axis, float(like.shape[axis]), held=True)
    x = settled(x)
    mu = x.m.mean(dim=tuple(dims), keepdim=True)
    left_out = torch.zeros_like(x.p)
    if centred == "mean":
        left_out = 2 * x.m * mu - mu**2
        mu = mu.expand_as(x.m)
    elif centred == "batch":
        left_out = x.p
    rest = (x.q.detach() - left_out).clamp_min(0.0)
    size = rest.mean(dim=tuple(dims), keepdim=True) + eps
    if centred == "mean":
        common = shared_mean(mu, x.axis)
        kept = (x.p - 2 * shared_mean(x.m, x.axis) * common + common**2).clamp_min(0.0) / size
    else:
        kept = (x.p - left_out) / size
    return replace(
        x,
        q=known_factor(x.q, rest / size, (1 / size).expand_as(rest)),
        m=(x.m - mu) / size.sqrt() if centred else x.m / size.sqrt(),
        p=kept,
        s=0.0,
        gap=0.0,
        t=x.t + spread(x) + 2 / x.units,
        back_gap=x.back_gap + x.gap,
        held=True,
        token=object(),
    )


def _affine(x: Expected, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Expected:
    if weight is not None:
        x = scaled(x, weight.reshape(tuple(shape)))
    return x if bias is None else shifted(x, bias.reshape(tuple(shape)))


def _layer_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, shape, weight, bias, eps = args[:5]
    dims = tuple(range(-len(shape), 0))
    return _affine(_normalised(shadow(like), like, dims, eps, "mean"), weight, bias, shape)


def _rms_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, shape, weight, eps = args[:4]
    dims = tuple(range(-len(shape), 0))
    eps = torch.finfo(like.dtype).eps if eps is None else eps
    return _affine(_normalised(shadow(like), like, dims, eps, ""), weight, None, shape)


def _group_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, weight, bias, samples, channels, _, groups, eps = args[:8]
    x = shadow(like)
    wide = (samples, groups, -1)
    if isinstance(x, Expected):
        x = settled(x).moved(lambda t: t.reshape(wide), object())
    found = _normalised(x, like.reshape(wide), (2,), eps, "mean")
    found = found.moved(lambda t: t.reshape(like.shape), object(), axis=1 - like.ndim)
    found = replace(found, units=float(channels))
    return _affine(found, weight, bias, (1, channels, *(1,) * (like.ndim - 2)))


def _batch_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, weight, bias, mean, variance, training, _, eps = args[:8]
    shape = (1, like.shape[1], *(1,) * (like.ndim - 2))
    x = shadow(like)
    if training or mean is None:
        dims = tuple(d for d in range(like.ndim) if d != 1)
        return _affine(_normalised(x, like, dims, eps, "batch"), weight, bias, shape)
    if not isinstance(x, Expected):
        return None
    x = shifted(x, -mean.reshape(shape))
    return _affine(scaled(x, (variance.double() + eps).rsqrt().reshape(shape)), weight, bias, shape)


def _batch_norm_legit(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    if len(args) == 6:  # without running statistics
        like, weight, bias, training, momentum, eps = args
        return _batch_norm((like, weight, bias, None, None, training, momentum, eps), shadow, output)
    return _batch_norm(args, shadow, output)


# -- pooling and means


def _mean(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    like = args[0]
    x = shadow(like)
    if not isinstance(x, Expected):
        return None
    given = args[1] if len(args) > 1 and args[1] is not None else list(range(like.ndim))
    dims = sorted(d % like.ndim - like.ndim for d in ([given] if isinstance(given, int) else given))
    keep = output.ndim == like.ndim
    if dims == [x.axis]:
        if like.shape[x.axis] < 8:
            return None
        x, token = settled(x), x.token
        return Level(x.m.mean(dim=dims, keepdim=keep), token, spread(x), x.gap)
    if x.axis in dims:
        return None
    return _pooled(x, lambda t: t.mean(dim=dims, keepdim=keep), math.prod(like.shape[d] for d in dims), keep, dims)


def _average_pool(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    x = shadow(args[0])
    size = args[1] if isinstance(args[1], list | tuple) else [args[1]]
    if not isinstance(x, Expected):
        return None
    count = math.prod(size) ** (2 // len(size) if output.ndim == 4 else 1)
    rest = args[1:]
    function = torch.nn.functional.avg_pool2d if output.ndim == 4 else torch.nn.functional.avg_pool1d
    return _pooled(x, lambda t: function(t, *rest), count, True, [])


def _adaptive_pool(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    x = shadow(args[0])
    if not isinstance(x, Expected):
        return None
    size, before = args[1], args[0]
    count = math.prod(before.shape[-len(size) :]) // max(1, math.prod(size))
    pool = getattr(torch.nn.functional, f"adaptive_avg_pool{len(size)}d")
    return _pooled(x, lambda t: pool(t, size), count, True, [])


def _pooled(
    x: Expected, pool: Callable[[Tensor], Tensor], count: int, keep: bool, dims: Sequence[int]
) -> Expected:
    """A mean over positions: between positions that share only what all share, and positions all alike."""
    x = settled(x)
    high = pool(x.q.detach())
    shared = pool(x.p)
    low = shared + (high - shared).clamp_min(0.0) / count
    middle = (low * high).sqrt()
    gap = _half_width(low, high)
    axis = x.axis if keep else x.axis + sum(d > x.axis for d in dims)
    # A mean of k passes 1/k² of a gradient's second moment to each of the k.
    q = known_factor(pool(x.q), middle, torch.full_like(middle, 1 / count))
    return replace(
        x, q=q, m=pool(x.m), p=torch.minimum(shared, middle), axis=axis, gap=x.gap + gap, held=False, token=object()
    )


def _max_pool(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    """The largest of k positions: between positions all alike and all independent, for which it is drawn."""
    x = shadow(args[0])
    if not isinstance(x, Expected):
        return None
    size = args[1] if len(args[1]) == 2 else [args[1][0]] * 2
    count = math.prod(size)
    mu, v = float(x.m.mean()), float((x.q.detach() - x.m**2).mean().clamp_min(0.0))
    generator = torch.Generator().manual_seed(0)
    draws = mu + math.sqrt(v) * torch.randn(4096, count, generator=generator, dtype=torch.float64)
    draws = draws if x.program is None else x.program(draws)
    x = settled(x)
    single, largest = draws[:, 0], draws.max(dim=1).values
    up = max(float((largest**2).mean() / (draws**2).mean().clamp_min(1e-300)), 1e-3)
    stride = args[2] if len(args) > 2 and args[2] else size
    padding = args[3] if len(args) > 3 else 0
    pool = lambda t: torch.nn.functional.avg_pool2d(  # noqa: E731
        t, size, stride, padding, ceil_mode=bool(args[5]) if len(args) > 5 else False, count_include_pad=False
    )
    average = pool(x.q)
    shift = float(largest.mean() - single.mean()) / 2
    mean = pool(x.m) + shift
    q = known_factor(average, average.detach() * math.sqrt(up), torch.ones_like(average))
    return replace(
        x,
        q=q,
        m=mean,
        p=torch.minimum(pool(x.p) * math.sqrt(up), q.detach()),
        gap=x.gap + abs(math.log(up)) / 2,
        back_gap=x.back_gap,
        normal=False,
        held=False,
        token=object(),
    )


def _softmax(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    return Attention(output)


def _joined(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    """Tensors joined along a dimension; known values are joined as they are."""
    parts = [settled(x) if isinstance(x := shadow(t), Expected) else x for t in args[0]]
    if not all(isinstance(x, Expected) or (x is None and t.is_floating_point()) for x, t in zip(parts, args[0], strict=True)):
        return None
    dim = args[1] if len(args) > 1 else 0
    whole = [
        x if isinstance(x, Expected) else from_data(t.cpu()) for x, t in zip(parts, args[0], strict=True)
    ]
    main = max((x for x in whole if x.units < math.inf), key=lambda x: x.q.numel())
    weights = [x.q.detach().sum() for x in whole]
    total = max(float(sum(weights)), 1e-300)
    shares = [float(w) / total for w in weights]
    return replace(
        main,
        q=torch.cat([x.q for x in whole], dim),
        m=torch.cat([x.m for x in whole], dim),
        p=torch.cat([x.p for x in whole], dim),
        s=sum(a * spread(x) for a, x in zip(shares, whole, strict=True)),
        t=sum(a * x.t for a, x in zip(shares, whole, strict=True)),
        gap=sum(a * x.gap for a, x in zip(shares, whole, strict=True)),
        back_gap=sum(a * x.back_gap for a, x in zip(shares, whole, strict=True)),
        units=min(x.units for x in whole) if dim % output.ndim - output.ndim != main.axis else sum(
            x.units for x in whole if x.units < math.inf
        ),
        normal=all(x.normal for x in whole),
        held=all(x.held for x in whole),
        token=object(),
    )


RULES: dict[str, Callable[[Sequence[Any], Shadow, Any], Found]] = {
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm_legit,
    "_native_batch_norm_legit_no_training": lambda args, shadow, output: _batch_norm(
        (*args[:5], False, *args[5:]), shadow, output
    ),
    "cudnn_batch_norm": _batch_norm,
    "_batch_norm_with_update": lambda args, shadow, output: _batch_norm(
        (*args[:5], True, *args[5:]), shadow, output
    ),
    "mean": _mean,
    "avg_pool2d": _average_pool,
    "avg_pool1d": _average_pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "_adaptive_avg_pool3d": _adaptive_pool,
    "adaptive_avg_pool1d": _adaptive_pool,
    "max_pool2d_with_indices": _max_pool,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "cat": _joined,
}
