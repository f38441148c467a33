"""Runs a model once and follows, beside every value, what theory expects of it."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from goodinit.graph.nested import tensors
from goodinit.graph.tags import is_pointwise
from goodinit.signals.expectations.expected import (
    Attention,
    Expected,
    Found,
    Shadow,
    from_data,
    scaled,
    settled,
)
from goodinit.signals.expectations.linear import CONTRACTIONS, contraction
from goodinit.signals.expectations.moving import MOVES, moved
from goodinit.signals.expectations.norms import NORMS
from goodinit.signals.expectations.pointwise import pointwise
from goodinit.signals.expectations.pooling import POOLS
from goodinit.signals.expectations.recurrent import sequence

__all__ = ["Follower"]

_RULES = {**NORMS, **POOLS}
# New tensors that take only their shape from another.
_NEW = frozenset(
    f"{what}_like" for what in ("empty", "zeros", "ones", "full", "rand", "randn", "randint")
) | frozenset(f"new_{what}" for what in ("empty", "zeros", "ones", "full", "empty_strided"))

# Operations that look weights up or put them beside data, after which it is still data.
_BESIDE = frozenset({"embedding", "_embedding_bag", "_embedding_bag_forward_only", "cat", "stack", "index"})


def _keeps_data(func: Any, name: str) -> bool:
    return is_pointwise(func) or name in _BESIDE or name in NORMS


class _Unknown:
    """Stands for a signal of which theory says nothing."""


_UNKNOWN = _Unknown()


class Follower(TorchDispatchMode):
    """Follows expected moments through the operations that reach the dispatcher.

    A tensor is made of weights alone, of data (the batch, looked-up embeddings, and what is made of
    them before the first weight contracts it: their values are known), a constant, or a signal:
    something that a random weight has contracted.
    """

    def __init__(self, weights: Iterable[Tensor], data: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights, self.data, self.signals = (WeakTensorKeyDictionary() for _ in range(3))
        for tensor in weights:
            self.weights[tensor] = True
        for tensor in data:
            self.data[tensor] = True
        self.tainted: dict[int, Any] = {}  # storages that a signal was written into
        self.paused = False
        # Below the dispatcher there is no autograd; another thread has its own.
        self.worker = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Give the thread back."""
        self.worker.shutdown()

    def expected(self, tensor: Tensor) -> Expected | None:
        """Return what is expected of a tensor; its function is applied from now on."""
        found = self.signals.get(tensor)
        if not isinstance(found, Expected):
            return None
        found = self.worker.submit(settled, found).result()
        self.signals[tensor] = found
        return found

    def pause(self, module: nn.RNNBase, args: Any) -> None:
        """Look away while a recurrent layer runs: it is followed as a whole."""
        self.paused = True

    def sequence(self, module: nn.RNNBase, args: Any, output: Any) -> tuple[float, ...]:
        """Follow a whole recurrent layer that has run, and return what is expected of each time step."""
        self.paused = False
        given = args[0] if args else None
        results: list[Any] = []
        steps: tuple[float, ...] = ()
        if isinstance(given, Tensor) and isinstance(output[0], Tensor):
            known = given in self.data
            x = self.worker.submit(from_data, given).result() if known else self.expected(given)
            states = [state for _, state in tensors(args[1:])]
            if x is not None and all(self._look(state) is None for state in states):
                found = self._safely(sequence, module, x, known, output[0].shape, states)
                if found is not None:
                    results = [found[0], *found[1]]
                    steps = tuple(found[2].tolist())
        self._set([tensor for _, tensor in tensors(output)], results)
        return steps

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self.paused:
            return output
        inside = [tensor for _, tensor in tensors((args, kwargs))]
        outside = [tensor for _, tensor in tensors(output)]
        found = [self._look(tensor) for tensor in inside]
        name = func.overloadpacket.__name__
        if name in _NEW:
            return output
        if any(item is not None for item in found):
            self._follow(func, name, args, kwargs, output, outside, found)
        elif name in CONTRACTIONS and self._meets(name, args):
            self._set(outside, self._safely(contraction, name, args, self._shadow_of(name), output, kwargs))
        elif any(tensor in self.data for tensor in inside):
            if any(tensor in self.weights for tensor in inside) and not _keeps_data(func, name):
                self._set(outside, None)
            else:
                self._mark(self.data, outside)
        elif any(tensor in self.weights for tensor in inside):
            self._mark(self.weights, outside)
        return output

    def _look(self, tensor: Tensor) -> Any:
        found = self.signals.get(tensor)
        if found is None and self.tainted and tensor.untyped_storage().data_ptr() in self.tainted:
            return _UNKNOWN
        return found

    def _shadow(self, value: Any) -> Found:
        found = self._look(value) if isinstance(value, Tensor) else None
        return None if isinstance(found, _Unknown) else found

    def _shadow_of(self, name: str) -> Shadow:
        """Return what describes data that a contraction reads: their values are known."""

        def shadow(value: Any) -> Found:
            if isinstance(value, Tensor) and value in self.data and value.is_floating_point():
                return from_data(value, 1 - value.ndim if name == "convolution" else -1)
            return None

        return shadow

    def _meets(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether data meet weights in a contraction."""
        operands = [args[at] for at in CONTRACTIONS[name][:2] if at is not None]
        return sum(t in self.weights for t in operands) == 1 and sum(t in self.data for t in operands) == 1

    def _follow(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        outside: list[Tensor],
        found: list[Any],
    ) -> None:
        result: Any = None
        known = not any(isinstance(item, _Unknown) for item in found)
        base = name.rstrip("_")
        if base in _RULES:
            if known or base in NORMS:
                result = self._safely(_RULES[base], args, self._shadow, output)
        elif known and base in MOVES:
            first = self._shadow(args[0])
            if isinstance(first, Expected):
                result = self._safely(moved, func, first, args, kwargs, output)
            elif isinstance(first, Attention):
                result = Attention(outside[0])
        elif known and base in CONTRACTIONS:
            result = self._safely(contraction, base, args, self._shadow, output, kwargs)
        elif known and is_pointwise(func):
            result = self._safely(pointwise, func, args, kwargs, self._shadow)
            if isinstance(result, Attention):
                result = Attention(outside[0])
        elif known and base in ("native_dropout", "dropout"):
            result = self._dropped(args, output)
        if name.endswith("_") and args and isinstance(args[0], Tensor):
            self._written(args[0])
            outside = [args[0], *(t for t in outside if t is not args[0])]
        self._set(outside, result)

    def _dropped(self, args: tuple[Any, ...], output: Any) -> Any:
        first = self._shadow(args[0])
        if isinstance(first, Attention):
            return Attention(output[0])
        if not isinstance(first, Expected) or not isinstance(output, tuple):
            return None
        kept = output[1].double() / max(1.0 - float(args[1]), 1e-12)
        return self._safely(scaled, first, kept)

    def _safely(self, rule: Any, *args: Any) -> Any:
        """Run a rule in the thread with autograd; what it cannot do is unknown, never an error."""
        try:
            return self.worker.submit(rule, *args).result()
        except (
            RuntimeError,
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
            ZeroDivisionError,
            OverflowError,
        ):
            return None

    def _set(self, outside: list[Tensor], result: Any) -> None:
        results = result if isinstance(result, list) else [result] * min(1, len(outside))
        for at, tensor in enumerate(outside):
            item = results[at] if at < len(results) else None
            if isinstance(item, Expected) and item.q.shape != tensor.shape:
                item = None
            if tensor.is_floating_point() or tensor.is_complex():
                self.signals[tensor] = _UNKNOWN if item is None else item

    def _written(self, tensor: Tensor) -> None:
        """A signal was written in place: what shares the memory is not what it was."""
        storage = tensor.untyped_storage()
        self.tainted[storage.data_ptr()] = storage
        for other in list(self.signals.keys()):
            if other is not tensor and other.untyped_storage().data_ptr() == storage.data_ptr():
                self.signals[other] = _UNKNOWN
        for known in (self.data, self.weights):
            if tensor in known:
                del known[tensor]

    def _mark(self, known: Any, outside: list[Tensor]) -> None:
        for tensor in outside:
            known[tensor] = True
