"""Drop-in for ``torch.nn.init``: the same names, signatures, errors and meaning, with goodinit's draws.

Each random call takes one integer from the generator it is given, or from the default
generator of the tensor's device, and draws every element from that key and the element's
index alone. So ``torch.manual_seed`` and ``generator=`` work as ever, while the values
depend neither on memory layout nor on threads.

What torch refuses and this module does: bf16 and fp16 `orthogonal_`, 8-bit storage, a gain
for every activation, truncated normals without temporaries, tensors without elements,
`sparse_` that follows its generator to the last choice.

Example:
    >>> import goodinit.init as init
    >>> layer = torch.nn.Linear(64, 32)
    >>> init.kaiming_uniform_(layer.weight, nonlinearity="relu") is layer.weight
    True
"""

# No `from __future__ import annotations`: these signatures equal torch's, and
# inspect.signature compares annotations as objects.

import inspect
import math
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from goodinit._init_fills import (  # noqa: F401 - torch.nn.init's private names, which others import too
    _no_grad_fill_,
    _no_grad_normal_,
    _no_grad_trunc_normal_,
    _no_grad_uniform_,
    _no_grad_zero_,
    fill_truncated,
)
from goodinit._init_scale import (  # noqa: F401 - as above
    _calculate_correct_fan,
    _calculate_fan_in_and_fan_out,
    _FanMode,
    _NonlinearityType,
    calculate_gain,
    xavier_std,
)
from goodinit._init_structures import dirac_, eye_, orthogonal_, sparse_

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]

_R = TypeVar("_R")
_P = ParamSpec("_P")


def uniform_(
    tensor: Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from U(a, b) and return it.

    Args:
        tensor: any shape, layout and floating or complex dtype; both parts of a complex number are drawn.
        a: lower bound, included.
        b: upper bound, at least a.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        RuntimeError, NotImplementedError, TypeError: as torch, if a > b, or a dtype has no draws.
        ArgumentError: if an 8-bit dtype cannot hold the bounds.

    >>> w = uniform_(torch.empty(3, 5), -1, 1)
    >>> bool((w >= -1).all() and (w <= 1).all())
    True
    """
    if torch.overrides.has_torch_function_variadic(tensor):
        return torch.overrides.handle_torch_function(
            uniform_, (tensor,), tensor=tensor, a=a, b=b, generator=generator
        )
    return _no_grad_uniform_(tensor, a, b, generator)


def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from N(mean, std²) and return it.

    Args:
        tensor: any shape, layout and floating or complex dtype.
        mean: mean; of either part, if the tensor is complex.
        std: standard deviation, at least 0; of the complex number, if the tensor is complex.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        RuntimeError, NotImplementedError, TypeError: as torch, if std < 0, or a dtype has no draws.

    >>> w = normal_(torch.empty(100, 100), std=0.02)
    >>> 0.019 < w.std() < 0.021
    tensor(True)
    """
    if torch.overrides.has_torch_function_variadic(tensor):
        return torch.overrides.handle_torch_function(
            normal_, (tensor,), tensor=tensor, mean=mean, std=std, generator=generator
        )
    return _no_grad_normal_(tensor, mean, std, generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from N(mean, std²) conditioned on [a, b], and return it.

    `std` is that of the normal before truncation and a, b are values, not multiples of
    std: torch's meaning. (`goodinit.initializers.TruncatedNormal` states the std after.)

    Args:
        tensor: any shape, layout and floating dtype. Nothing of its size is allocated.
        mean: mean before truncation.
        std: standard deviation before truncation, not 0; its sign is ignored, as in torch.
        a: lower bound, may be -inf.
        b: upper bound, may be inf.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        ZeroDivisionError, RuntimeError, TypeError: as torch, if std is 0, a > b, or a dtype has no draws.

    >>> w = trunc_normal_(torch.empty(1000), std=0.02, a=-0.04, b=0.04)
    >>> bool(w.abs().max() <= 0.04)
    True
    """
    return fill_truncated(tensor, mean, std, a, b, generator, stacklevel=3)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill the tensor with `val` and return it.

    Args:
        tensor: any shape, layout and dtype.
        val: the value; the dtype rounds it.

    >>> constant_(torch.empty(2), 0.5)
    tensor([0.5000, 0.5000])
    """
    if torch.overrides.has_torch_function_variadic(tensor):
        return torch.overrides.handle_torch_function(constant_, (tensor,), tensor=tensor, val=val)
    return _no_grad_fill_(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill the tensor with 1 and return it.

    >>> ones_(torch.empty(2))
    tensor([1., 1.])
    """
    return _no_grad_fill_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill the tensor with 0 and return it.

    >>> zeros_(torch.empty(2))
    tensor([0., 0.])
    """
    return _no_grad_zero_(tensor)


def xavier_uniform_(
    tensor: Tensor,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from U(-a, a), a = gain·√(6/(fan_in+fan_out)), and return it.

    The fans are guessed from the shape as torch does: fan_in = shape[1]·∏shape[2:],
    fan_out = shape[0]·∏shape[2:].

    Args:
        tensor: at least two dimensions, any layout and floating or complex dtype.
        gain: multiplier of the std, see `calculate_gain`.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        TensorError: if the tensor has fewer than 2 dimensions.
        RuntimeError: as torch, if gain < 0.

    >>> bool(xavier_uniform_(torch.empty(4, 2)).abs().max() <= 1)
    True

    Source: Glorot & Bengio (2010), eq. 16.
    """
    a = math.sqrt(3.0) * xavier_std(tensor, gain)
    return _no_grad_uniform_(tensor, -a, a, generator)


def xavier_normal_(
    tensor: Tensor,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from N(0, std²), std = gain·√(2/(fan_in+fan_out)), and return it.

    Fans as in `xavier_uniform_`.

    Args:
        tensor: at least two dimensions, any layout and floating or complex dtype.
        gain: multiplier of the std, see `calculate_gain`.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        TensorError: if the tensor has fewer than 2 dimensions.
        RuntimeError: as torch, if gain < 0.

    >>> 0.095 < xavier_normal_(torch.empty(100, 100)).std() < 0.105
    tensor(True)

    Source: Glorot & Bengio (2010), eq. 12.
    """
    return _no_grad_normal_(tensor, 0.0, xavier_std(tensor, gain), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: _FanMode, nonlinearity: _NonlinearityType) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: _FanMode = "fan_in",
    nonlinearity: _NonlinearityType = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from U(-bound, bound), bound = gain·√(3/fan), and return it.

    Fans as in `xavier_uniform_`; the weight is taken as (fan_out, fan_in), that is ``x @ w.T``.

    Args:
        tensor: at least two dimensions, any layout and floating or complex dtype.
        a: negative slope after this layer; used with ``"leaky_relu"`` alone.
        mode: ``"fan_in"`` keeps the scale forward, ``"fan_out"`` backward.
        nonlinearity: what follows the layer; whatever `calculate_gain` takes.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        TensorError: if the tensor has fewer than 2 dimensions.
        ArgumentError: if the mode or the nonlinearity is unknown.

    Warns:
        UserWarning: if the tensor has no elements; it is returned as it is.

    >>> bool(kaiming_uniform_(torch.empty(4, 6), nonlinearity="relu").abs().max() <= 1)
    True

    Source: He et al. (2015), eq. 10 and 14.
    """
    if torch.overrides.has_torch_function_variadic(tensor):
        return torch.overrides.handle_torch_function(
            kaiming_uniform_,
            (tensor,),
            tensor=tensor,
            a=a,
            mode=mode,
            nonlinearity=nonlinearity,
            generator=generator,
        )
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return _no_grad_uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: _FanMode = "fan_in",
    nonlinearity: _NonlinearityType = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with draws from N(0, std²), std = gain/√fan, and return it.

    Arguments, errors and the warning are those of `kaiming_uniform_`.

    >>> 0.135 < kaiming_normal_(torch.empty(100, 100), nonlinearity="relu").std() < 0.148
    tensor(True)

    Source: He et al. (2015), eq. 10 and 14.
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return _no_grad_normal_(tensor, 0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _make_deprecate(meth: Callable[_P, _R]) -> Callable[_P, _R]:
    new_name = meth.__name__
    old_name = new_name[:-1]

    def deprecated_init(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        warnings.warn(
            f"`nn.init.{old_name}` is now deprecated in favor of `nn.init.{new_name}`.",
            FutureWarning,
            stacklevel=2,
        )
        return meth(*args, **kwargs)

    deprecated_init.__doc__ = f"Deprecated name of `{new_name}`; warns with a FutureWarning and calls it."
    deprecated_init.__name__ = deprecated_init.__qualname__ = old_name
    # torch's aliases show (*args, **kwargs); so do these, down to its type variables.
    deprecated_init.__signature__ = inspect.signature(getattr(torch.nn.init, old_name))  # type: ignore[attr-defined]
    return deprecated_init


uniform = _make_deprecate(uniform_)
normal = _make_deprecate(normal_)
constant = _make_deprecate(constant_)
eye = _make_deprecate(eye_)
dirac = _make_deprecate(dirac_)
xavier_uniform = _make_deprecate(xavier_uniform_)
xavier_normal = _make_deprecate(xavier_normal_)
kaiming_uniform = _make_deprecate(kaiming_uniform_)
kaiming_normal = _make_deprecate(kaiming_normal_)
orthogonal = _make_deprecate(orthogonal_)
sparse = _make_deprecate(sparse_)
