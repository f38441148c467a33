"""Operations that no module hook can see: functional layers and activations, residual sums, attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from goodinit.signals.probing.attention import from_projections, from_weights
from goodinit.signals.probing.kinds import ACTIVATION_FUNCTIONS
from goodinit.signals.probing.measuring import measuring

if TYPE_CHECKING:
    from goodinit.signals.probing.recorder import Recorder

__all__ = ["Operations", "transformed"]

_PLACES = (torch, torch.Tensor, functional, torch._C._nn)


def _named(*names: str) -> dict[Callable[..., object], str]:
    return {
        function: name.strip("_").removeprefix("i").removeprefix("r") if name.startswith("__") else name
        for name in names
        for place in _PLACES
        if (function := getattr(place, name, None)) is not None
    }


# Operations that multiply by a weight, when one of their arguments is a raw parameter.
_PRODUCTS: Final = _named(
    *("linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "inner", "tensordot"),
    *("addmm", "addmv", "addbmm", "baddbmm", "einsum", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)
_SUMS: Final = _named("add", "add_", "__add__", "__iadd__", "__radd__")
_SOFTMAX: Final = _named("softmax", "_softmax")
_FUSED: Final = functional.scaled_dot_product_attention
_WHOLE: Final = functional.multi_head_attention_forward
# A sum in a loop may run thousands of times; the first calls tell.
_MOST_CALLS: Final = 64


def transformed() -> bool:
    """Does this run inside a transform of torch.func (vmap, grad, jvp), where no value can be read?"""
    return torch._C._functorch.maybe_current_level() is not None


class Operations(TorchFunctionMode):
    """Watches every torch function while the model runs and hands what counts to the recorder.

    Tensors are followed by identity, held weakly: which are weights (parameters and
    what is computed from parameters alone), which are signals (inputs, outputs of
    modules and of recorded operations), and which are attention weights that no
    product has used yet.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.weights: Any = WeakTensorKeyDictionary()
        self.signals: Any = WeakTensorKeyDictionary()
        self.attentions: Any = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if transformed():
            return func(*args, **kwargs)
        if self.recorder.inside_opaque():
            if func is _WHOLE:
                with _Whole(self.recorder):
                    return func(*args, **kwargs)
            return func(*args, **kwargs)
        quiet = self.recorder.inside_plain_leaf()
        # Reading a tensor's shape is a torch function too, which other modes would hear of.
        with torch._C.DisableTorchFunction():
            # Before the call: an operation in place changes what its argument is.
            given = list(_tensors(args, kwargs))
            residual = func in _SUMS and not quiet and self._joins(given)
        output = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            if isinstance(output, torch.Tensor):
                self._follow(func, given, args, kwargs, output, residual, quiet)
            elif isinstance(output, list | tuple) and (weight := self._weight_of(given)) is not None:
                # A stack of weights that is taken apart, in a loop or by chunk, split or unbind.
                for each in _tensors((output,), {}):
                    self._inherit(func, given, each, weight)
        return output

    def signal(self, tensor: torch.Tensor) -> None:
        """Remember a tensor as part of the signal that flows through the network."""
        self.signals[tensor] = True

    def _joins(self, given: list[torch.Tensor]) -> bool:
        """Do these two tensors make a residual sum: equally shaped, computed, one of them a signal?"""
        if len(given) != 2 or given[0].shape != given[1].shape or given[0].ndim < 2:
            return False
        if not all(each.requires_grad and self._weight_of([each]) is None for each in given):
            return False
        return any(each in self.signals for each in given)

    def _follow(
        self,
        kind: Any,
        given: list[torch.Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: torch.Tensor,
        residual: bool,
        quiet: bool,
    ) -> None:
        weight = self._weight_of(given)
        if kind in _PRODUCTS:
            self._attend(given)
            if weight is not None and not quiet:
                self.recorder.product(_PRODUCTS[kind], weight, args, output)
                self.signal(output)
                return
        elif kind in ACTIVATION_FUNCTIONS and not quiet:
            self.recorder.operation(ACTIVATION_FUNCTIONS[kind], args, output)
            self.signal(output)
            return
        elif residual:
            self.recorder.operation("add", args, output, most=_MOST_CALLS)
            self.signal(output)
            return
        elif kind is _FUSED:
            with measuring(output.device):
                self.recorder.attention(_fused(*args, **kwargs))
        elif kind in _SOFTMAX:
            self._soften(given, args, kwargs, output)
            return
        self._inherit(kind, given, output, weight)

    def _weight_of(self, given: list[torch.Tensor]) -> str | None:
        """Return the name of the first argument that is a weight."""
        for each in given:
            name = self.recorder.parameter(each) if isinstance(each, nn.Parameter) else self.weights.get(each)
            if name is not None:
                return str(name)
        return None

    def _inherit(
        self, kind: Any, given: list[torch.Tensor], output: torch.Tensor, weight: str | None
    ) -> None:
        """Pass on what a tensor is to views and copies of it."""
        if weight is not None:
            others = [
                each for each in given if not isinstance(each, nn.Parameter) and each not in self.weights
            ]
            # Looking rows up by computed places is an embedding, not a part of a weight.
            if not any(each.requires_grad or each in self.signals or _places(each) for each in others):
                self.weights[output] = weight
        elif len(given) == 1 and output.shape.numel() == given[0].shape.numel():
            # Reshaped, cast, dropped out: the same signal, the same attention.
            if given[0] in self.attentions:
                self.attentions[output] = self.attentions[given[0]]
            if given[0] in self.signals and kind not in _SUMS:
                self.signal(output)

    def _soften(
        self, given: list[torch.Tensor], args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor
    ) -> None:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        # Two dimensions are rows and classes, experts or mixtures; of graphs, nodes and nodes.
        shaped = output.ndim >= 3 or (output.ndim == 2 and output.shape[0] == output.shape[1])
        if given and shaped and dim in (-1, output.ndim - 1) and output.shape[-2] > 1:
            # Only a softmax whose outcome multiplies something is attention; that is known later.
            with measuring(output.device):
                self.attentions[output] = from_weights(given[0])

    def _attend(self, given: list[torch.Tensor]) -> None:
        for each in given:
            if each in self.attentions:
                self.recorder.attention(self.attentions.pop(each))


def _places(tensor: torch.Tensor) -> bool:
    return tensor.ndim > 0 and not tensor.is_floating_point() and tensor.dtype != torch.bool


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (each for each in value if isinstance(each, torch.Tensor))


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    return from_projections(query, key, attn_mask, is_causal, scale)


class _Whole(TorchDispatchMode):
    """Looks inside torch's own multi-head attention, one function to the mode above."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        fused = name.startswith("_scaled_dot_product")
        if not fused and name not in ("_softmax", "_safe_softmax"):
            return output
        names = [argument.name for argument in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
        module = self.recorder.current()
        heads = getattr(module, "num_heads", None)
        with measuring(args[0].device):
            if fused:
                mask = given.get("attn_mask", given.get("attn_bias"))
                causal, scale = bool(given.get("is_causal", False)), given.get("scale")
                self.recorder.attention(from_projections(given["query"], given["key"], mask, causal, scale))
            elif given["self"].ndim >= 3:
                self.recorder.attention(from_weights(given["self"], heads))
        return output
