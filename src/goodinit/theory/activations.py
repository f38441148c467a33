"""From a name, a module or any callable to one `Activation` value."""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean
from goodinit.theory.black_box import Kind, array_values, look, not_elementwise
from goodinit.theory.named import ALIASES, GATES, NAMED, NOT_ELEMENTWISE, leaky

__all__ = ["Activation", "ActivationLike", "Branch", "activation", "activation_names"]

Array = NDArray[np.float64]
ActivationLike = Any  # str | Activation | nn.Module | type[nn.Module] | Callable[[Tensor], Tensor] | ...


@dataclass(frozen=True)
class Branch:
    """One function of a random activation, with its probability and how to call it."""

    weight: float
    function: Callable[..., Any]
    kind: Kind = "torch"


@dataclass(frozen=True)
class Activation:
    """An elementwise function φ, perhaps random, perhaps the gate of a gated unit φ(a)·b.

    `branches` holds one function, or for a random or per-channel activation several
    with probabilities. `independent` says that the branch is drawn anew for each input
    (dropout), not fixed for each unit (PReLU). Two values that are equal have equal moments.

    >>> activation("leaky_relu(0.2)").name
    'leaky_relu(negative_slope=0.2)'
    """

    name: str
    branches: tuple[Branch, ...]
    gated: bool = False
    independent: bool = True
    fingerprint: bytes = field(default=b"", repr=False)

    @property
    def random(self) -> bool:
        """True where φ draws random numbers, as RReLU in training mode."""
        return self.independent and len(self.branches) > 1

    def __call__(self, x: Tensor) -> Tensor:
        """Return φ(x) elementwise; the mean over branches where there are several."""
        if self.gated:
            a, b = x.chunk(2, dim=-1)
            return self.ungated()(a) * b
        parts: list[Tensor] = []
        for branch in self.branches:
            if branch.kind == "torch":
                out = branch.function(x.clone())
            elif branch.kind == "float32":
                out = branch.function(x.float()).to(x.dtype)
            else:
                flat = x.detach().cpu().double().numpy().ravel()
                out = (
                    torch.from_numpy(array_values(branch.function, branch.kind, flat)).reshape(x.shape).to(x)
                )
            parts.append(branch.weight * out)
        return functools.reduce(torch.add, parts)

    def ungated(self) -> Activation:
        """Return the function on the gate alone."""
        return Activation(
            self.name, self.branches, independent=self.independent, fingerprint=self.fingerprint
        )


def activation_names() -> tuple[str, ...]:
    """Return every name that `activation` knows, aliases and gated units included.

    >>> "swiglu" in activation_names()
    True
    """
    return tuple(sorted({*NAMED, *ALIASES, *GATES}))


def activation(function: ActivationLike, **parameters: float | str) -> Activation:
    """Return the `Activation` that a name, a module, a module class or a callable stands for.

    Names are those of ``torch.nn`` and ``torch.nn.functional`` in any spelling
    (``"LeakyReLU"``, ``"leaky_relu(0.2)"``), with torch's default parameters, and the
    gated units ``"glu"``, ``"swiglu"``, ``"geglu"``, ``"reglu"``. A callable is an
    elementwise function of a float64 tensor or NumPy array. ``"rrelu"``, ``"dropout"``
    and their modules in training mode are averaged over their own randomness.

    Args:
        function: the name, module, class, callable, or an `Activation`.
        parameters: parameters of a named function, as ``negative_slope=0.2``.

    Raises:
        UnknownNameError: for a name that does not exist.
        WrongTypeError: for something that is none of these.
        ArgumentError: for a function that is not elementwise or draws random numbers.

    >>> activation("swish").name
    'silu'
    >>> import torch
    >>> activation(torch.nn.LeakyReLU(0.2)) == activation("leaky_relu", negative_slope=0.2)
    True
    """
    if isinstance(function, str):
        return _from_name(function, parameters)
    if isinstance(function, Activation):
        resolved = function
    elif isinstance(function, type) and issubclass(function, nn.Module):
        return _from_class(function, parameters)
    elif isinstance(function, nn.Module):
        resolved = _from_module(function)
    elif function is None:
        resolved = _named("identity", ())
    elif callable(function):
        resolved = _from_callable(function, _label(function))
    else:
        raise WrongTypeError(
            f"activation is a {type(function).__name__} ({function!r}); "
            "give a name, an nn.Module, or a callable of a tensor"
        )
    if parameters:
        raise ArgumentError(
            f"activation: parameters {sorted(parameters)} belong to a name; "
            f"{resolved.name} already has its own"
        )
    return resolved


def _from_class(kind: type[nn.Module], parameters: dict[str, Any]) -> Activation:
    try:
        return _from_module(kind(**parameters))
    except TypeError as error:
        raise ArgumentError(
            f"activation: {kind.__name__} cannot be made with {parameters} ({error}); give an instance"
        ) from error


def _from_name(text: str, parameters: dict[str, float | str]) -> Activation:
    match = re.fullmatch(r"\s*(?:torch\.)?(?:nn\.)?(?:functional\.|F\.)?([\w\-]+)\s*(\(.*\))?\s*", text)
    name = _canonical(match.group(1)) if match else None
    if match is None or name is None:
        if match and _squash(match.group(1)) in {_squash(n) for n in NOT_ELEMENTWISE}:
            raise not_elementwise(match.group(1))
        raise UnknownNameError(
            f"activation {text!r} is unknown{did_you_mean(text, activation_names())}; "
            "give a name of torch.nn.functional, an nn.Module, or a callable of a tensor"
        )
    if name in GATES:
        if parameters or match.group(2) not in (None, "()"):
            raise ArgumentError(f"activation {text!r}: the gated unit {name} has no parameters")
        inner = _named(GATES[name], ())
        return Activation(name, inner.branches, gated=True)
    known = NAMED[name].defaults
    values = dict(known)
    for key, value in _arguments(text, match.group(2), [k for k, _ in known]) + list(parameters.items()):
        if key not in values:
            has = ", ".join(k for k, _ in known) or "none"
            raise ArgumentError(f"activation {name!r} has no parameter {key!r}; its parameters: {has}")
        values[key] = value if isinstance(value, str) else float(value)
    return _named(name, tuple(values.items()))


def _arguments(text: str, brackets: str | None, order: list[str]) -> list[tuple[str, float | str]]:
    if brackets is None:
        return []
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
        assert isinstance(call, ast.Call)
        positional = [ast.literal_eval(item) for item in call.args]
        named = [(str(item.arg), ast.literal_eval(item.value)) for item in call.keywords]
    except (SyntaxError, ValueError, AssertionError) as error:
        raise ArgumentError(
            f"activation {text!r}: the parameters cannot be read; write 'name(0.2)'"
        ) from error
    if len(positional) > len(order):
        raise ArgumentError(f"activation {text!r} has {len(positional)} parameters, at most {len(order)}")
    pairs = list(zip(order, positional, strict=False)) + named
    if not all(isinstance(value, int | float | str) for _, value in pairs):
        raise ArgumentError(f"activation {text!r}: parameters are numbers; write 'name(0.2)'")
    return pairs


def _squash(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


@functools.cache
def _spellings() -> dict[str, str]:
    table = {_squash(alias): target for alias, target in ALIASES.items()}
    table.update({_squash(name): name for name in [*NAMED, *GATES]})
    return table


def _canonical(name: str) -> str | None:
    spelled = _spellings().get(_squash(name))
    if spelled is None and name.endswith("_"):
        spelled = _spellings().get(_squash(name[:-1]))
    return spelled


@functools.lru_cache(maxsize=512)
def _named(name: str, parameters: tuple[tuple[str, float | str], ...]) -> Activation:
    defaults = dict(NAMED[name].defaults)
    values = {**defaults, **dict(parameters)}
    if name == "gelu" and values["approximate"] != "none":
        if values["approximate"] != "tanh":
            raise ArgumentError(f"gelu: approximate is {values['approximate']!r}; use 'none' or 'tanh'")
        return _named("gelu_tanh", ())
    changed = [f"{key}={value!r}" for key, value in values.items() if value != defaults[key]]
    label = f"{name}({', '.join(changed)})" if changed else name
    if name == "prelu":
        return _named("leaky_relu", (("negative_slope", float(values["init"])),))
    if name == "rrelu":
        return _rrelu(label, float(values["lower"]), float(values["upper"]))
    if name == "dropout":
        return _dropout(label, float(values["p"]))
    function = functools.partial(NAMED[name].function, **values) if changed else None
    if function is None:
        base = NAMED[name]
        function = functools.partial(base.function, **defaults) if base.defaults else None
    return Activation(label, (Branch(1.0, function or NAMED[name].function),))


def _slopes(label: str, pairs: list[tuple[float, float]], independent: bool) -> Activation:
    if len(pairs) == 1 and not independent:
        return _named("leaky_relu", (("negative_slope", pairs[0][1]),))
    branches = tuple(
        Branch(weight, functools.partial(leaky, negative_slope=slope)) for weight, slope in pairs
    )
    return Activation(label, branches, independent=independent, fingerprint=repr(pairs).encode())


def _rrelu(label: str, lower: float, upper: float) -> Activation:
    if not lower <= upper:
        raise ArgumentError(f"rrelu: lower={lower} is above upper={upper}; swap them")
    # Three Gauss–Legendre slopes average every polynomial in the slope up to degree 5,
    # and the moments used here have degree 4 at most, so this is exact.
    t, w = np.polynomial.legendre.leggauss(3)
    slopes = (lower + upper) / 2 + (upper - lower) / 2 * t
    return _slopes(label, [(float(a / 2), float(b)) for a, b in zip(w, slopes, strict=True)], True)


def _dropped(x: Tensor) -> Tensor:
    return x * 0.0


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x * factor


def _dropout(label: str, p: float) -> Activation:
    if not 0 <= p < 1:
        raise ArgumentError(f"dropout: p is {p}; give a probability in [0, 1)")
    if p == 0:
        return _named("identity", ())
    kept = functools.partial(_scaled, factor=1 / (1 - p))
    return Activation(label, (Branch(p, _dropped), Branch(1 - p, kept)), fingerprint=repr(p).encode())


# How the attributes of torch's modules are called, where they are parameters of the function.
_ATTRIBUTES = {
    "threshold": ("threshold", "value"),
    "hardtanh": ("min_val", "max_val"),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "gelu": ("approximate",),
    "hardshrink": ("lambd",),
    "softshrink": ("lambd",),
    "leaky_relu": ("negative_slope",),
    "softplus": ("beta", "threshold"),
    "rrelu": ("lower", "upper"),
    "dropout": ("p",),
}


def _from_module(module: nn.Module) -> Activation:
    kind = type(module)
    if kind.__module__.startswith("torch.nn.modules"):
        if kind is nn.GLU:
            return _from_name("glu", {})
        if kind is nn.PReLU:
            return _prelu(cast(Tensor, module.weight))
        if kind is nn.Identity or (kind is nn.Dropout and not module.training):
            return _named("identity", ())
        if kind.__name__ in ("Softmax", "LogSoftmax", "Softmin", "Softmax2d", "MultiheadAttention"):
            raise not_elementwise(kind.__name__)
        name = _canonical(kind.__name__)
        if name == "rrelu" and not module.training:
            mean = (cast(float, module.lower) + cast(float, module.upper)) / 2
            return _named("leaky_relu", (("negative_slope", mean),))
        if name in NAMED:
            keys = _ATTRIBUTES.get(name, ())
            return _named(name, tuple((key, _plain(getattr(module, key))) for key in keys))
    if any(item.is_meta for item in [*module.parameters(), *module.buffers()]):
        raise ArgumentError(
            f"activation {kind.__name__} has parameters on the meta device, so it has no values; "
            "give it on a real device, or give its name"
        )
    try:
        twin = copy.deepcopy(module).to(device="cpu", dtype=torch.float64)
    except Exception as error:  # a module may hold anything
        raise ArgumentError(
            f"activation {kind.__name__} cannot be copied to float64 ({type(error).__name__}: {error}); "
            "give an elementwise function of one tensor"
        ) from error
    for item in twin.parameters():  # one by one, because a scripted module takes no requires_grad_
        item.requires_grad_(False)
    # forward, not __call__: hooks belong to the model, and must not see these points.
    return _from_callable(twin.forward, kind.__name__)


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)


def _prelu(weight: Tensor) -> Activation:
    if weight.is_meta or weight.numel() == 0:
        return _named("leaky_relu", (("negative_slope", 0.25),))  # 0.25: torch's and He et al. 2015's start
    slopes, counts = np.unique(weight.detach().double().cpu().numpy(), return_counts=True)
    pairs = [(float(c / weight.numel()), float(s)) for s, c in zip(slopes, counts, strict=True)]
    return _slopes(f"prelu({len(pairs)} slopes)", pairs, False)


def _label(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _label(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def _from_callable(function: Callable[..., Any], label: str) -> Activation:
    if isinstance(function, functools.partial) and isinstance(function.func, type):
        raise WrongTypeError(f"activation {label!r} makes a module; give the module itself")
    kind, values = look(function, label)
    if getattr(type(function), "__hash__", None) is None:
        function = functools.partial(function)  # hashed by identity, for the caches
    # The values are part of the identity: a closure or a parameter may have changed since.
    return Activation(label, (Branch(1.0, function, kind),), fingerprint=values.tobytes())
