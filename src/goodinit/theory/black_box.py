"""Looking at a black box: is it elementwise, deterministic, and does it want tensors or arrays?"""

from __future__ import annotations

import pickle
import random
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodinit.errors import ArgumentError

__all__ = ["Kind", "array_values", "look", "not_elementwise", "tensor_values"]

Array = NDArray[np.float64]
Kind = Literal["torch", "float32", "numpy", "scalar"]

# Fixed arguments on which a callable is looked at; irrational steps keep them off usual kinks.
_LOOK = np.linspace(-3.0, 3.0, 41) + np.sin(np.arange(41.0)) * 0.05
_MANY = np.resize(_LOOK, 2**16)  # where a function draws numbers that seldom matter


def look(function: Callable[..., Any], label: str) -> tuple[Kind, Array]:
    """Return how to call a function, and its values at fixed points.

    Raises:
        ArgumentError: for a function that fails, is random, complex or not elementwise.
    """
    # A random function is refused, and must not have moved the user's generator.
    arrays, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _look(function, label)
    finally:
        np.random.set_state(arrays)
        random.setstate(python)


def _generators() -> bytes:
    """The state of every generator that a function may draw from without saying so."""
    states = (torch.random.get_rng_state().numpy(), np.random.get_state(), random.getstate())
    return pickle.dumps(states)


def _look(function: Callable[..., Any], label: str) -> tuple[Kind, Array]:
    problems: list[str] = []
    kinds: tuple[Kind, ...] = ("torch", "numpy", "float32", "scalar")
    for kind in ("numpy",) if isinstance(function, np.ufunc) else kinds:
        before = _generators()
        try:
            first = _raw(function, kind, _LOOK)
        except Exception as error:  # a black box may raise anything
            problems.append(f"{type(error).__name__}: {error}")
            continue
        values = _as_array(first, label)
        if values.shape != _LOOK.shape:
            raise ArgumentError(
                f"activation {label!r} turned shape {_LOOK.shape} into {values.shape}; it must be "
                "elementwise. For a gated unit give its name ('swiglu') or use gated_moments"
            )
        drew = _generators() != before
        again = _as_array(_raw(function, kind, _LOOK), label)
        if not _same(values, again) or (drew and _differs(function, kind, label)):
            raise ArgumentError(
                f"activation {label!r} is random: two calls on the same values differ. "
                "Give it in eval mode, or 'rrelu' or 'dropout', which are averaged exactly"
            )
        backwards = _as_array(_raw(function, kind, _LOOK[::-1].copy()), label)[::-1]
        part = _as_array(_raw(function, kind, _LOOK[:7].copy()), label)
        if not (_same(values, backwards) and _same(values[:7], part)):
            raise not_elementwise(label)
        return kind, values
    raise ArgumentError(
        f"activation {label!r} failed on a float64 tensor and on an array of shape {_LOOK.shape}: "
        f"{problems[0]}. Give an elementwise function of one tensor; for a gated unit give its name "
        "('swiglu') or use gated_moments"
    )


def _differs(function: Callable[..., Any], kind: Kind, label: str) -> bool:
    one, other = (_as_array(_raw(function, kind, _MANY), label) for _ in range(2))
    return not _same(one, other)


def _raw(function: Callable[..., Any], kind: Kind, x: Array) -> Any:
    if kind in ("torch", "float32"):
        return tensor_values(function, kind, x)[1].detach()
    return array_values(function, kind, x)


def array_values(function: Callable[..., Any], kind: Kind, x: Array) -> Array:
    """Return the output of a NumPy function, or of a function of one number."""
    with np.errstate(all="ignore"):
        if kind == "scalar":
            return np.array([function(float(item)) for item in x], dtype=np.float64)
        out = function(x.copy())
    if isinstance(out, Tensor):
        raise TypeError("returned a tensor for an array")
    return np.asarray(out) if np.iscomplexobj(out) else np.asarray(out, dtype=np.float64)


def tensor_values(function: Callable[..., Any], kind: Kind, x: Array) -> tuple[Tensor, Tensor]:
    """Return the input leaf and the output of a torch function, joined by autograd.

    Whatever mode the caller is in: without the derivative every gradient would read as 0.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = torch.from_numpy(x.copy()).requires_grad_()
        # A clone, because the function may work in place; float32 for one that holds
        # float32 constants and so cannot take float64.
        out = function(leaf.clone() if kind == "torch" else leaf.float())
        if not isinstance(out, Tensor):
            raise TypeError(f"returned a {type(out).__name__}, not a tensor")
        return leaf, out


def _as_array(out: Any, label: str) -> Array:
    if isinstance(out, Tensor):
        if out.is_complex():
            raise ArgumentError(f"activation {label!r} returned complex numbers; give a real function")
        out = out.detach().cpu().double().numpy()
    found = np.asarray(out)
    if np.iscomplexobj(found):
        raise ArgumentError(f"activation {label!r} returned complex numbers; give a real function")
    return np.asarray(found, dtype=np.float64)


def _same(one: Array, other: Array) -> bool:
    # Vector and scalar kernels may differ in the last bits, float32 ones by more.
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True))


def not_elementwise(label: str) -> ArgumentError:
    return ArgumentError(
        f"activation {label!r} is not elementwise: its output at one place depends on the values at "
        "others (as softmax and normalizations do), so it has no moments of its own"
    )
