"""Check models on the CPU and on another device, and print as JSON how the two reports differ.

``python elsewhere.py DEVICE``. The device ``elsewhere`` needs no hardware: its tensors keep their numbers on
the CPU, say that they are on an accelerator, and, like a card's, refuse operations together with tensors of
the CPU, which is what code that was written on a CPU gets wrong.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

import goodinit

NAME = "elsewhere"
MOVES = ("aten::_to_copy", "aten::copy_")


def away(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


class Elsewhere(torch.Tensor):
    """Numbers of the CPU that say they are on another device."""

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        here = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim() > 0]
        # An index may lie on the CPU on a card, too.
        if here and len(here) < len(tensors) and name not in MOVES and not name.startswith("aten::index"):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        target = kwargs.get("device")
        if away(target):
            kwargs["device"] = torch.device("cpu")
        plain = tree_map(lambda t: t.inner if isinstance(t, Elsewhere) else t, (args, kwargs))
        out = func(*plain[0], **plain[1])
        if name == "aten::copy_":
            return args[0]
        if name == "aten::_local_scalar_dense" or (target is not None and not away(target)):
            return out
        return return_and_correct_aliasing(func, args, kwargs, wrapped(out))


class Factories(TorchDispatchMode):
    """Makes new tensors on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        made = away(kwargs.get("device")) and not any(issubclass(t, Elsewhere) for t in types)
        if made:
            kwargs["device"] = torch.device("cpu")
        out = func(*args, **kwargs)
        return wrapped(out) if made else out


def wrapped(out: Any) -> Any:
    return tree_map(lambda t: Elsewhere(t) if isinstance(t, torch.Tensor) else t, out)


def moved(thing: Any, device: str) -> Any:
    """A model or a batch on the device."""
    if device != NAME:
        return thing.to(device) if isinstance(thing, nn.Module) else tree_map(lambda t: t.to(device), thing)
    if not isinstance(thing, nn.Module):
        return wrapped(thing)
    for module in thing.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                made = Elsewhere(parameter.detach().clone())
                module._parameters[name] = nn.Parameter(made, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else Elsewhere(buffer.clone())
    return thing


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.out = nn.Embedding(20, 16), nn.LayerNorm(16), nn.Linear(16, 20)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        y = self.norm(x)
        places = torch.arange(ids.shape[1], device=ids.device)
        scores = self.q(y) @ self.k(y).mT / 4
        x = x + scores.masked_fill(places > places[:, None], -torch.inf).softmax(-1) @ self.v(y)
        return self.out(x)[:, -1]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # Of a card's own kernels for recurrence the stand-in has none.
        self.read, self.again, self.out = nn.Linear(4, 12), nn.Linear(12, 12, bias=False), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(len(x), 12)
        for step in x.unbind(1):
            state = torch.tanh(self.read(step) + self.again(state))
        return self.out(state)


def chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*copy.deepcopy(layers))


def deep() -> list[nn.Module]:
    return [part for _ in range(30) for part in (nn.Linear(24, 24), nn.Sigmoid())]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]] = {
    "perceptron": (chain(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), lambda: torch.randn(12, 16)),
    "fading": (chain(nn.Linear(16, 24), *deep(), nn.Linear(24, 4)), lambda: torch.randn(12, 16)),
    "convolutions": (
        chain(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(8 * 36, 4),
        ),
        lambda: torch.randn(12, 3, 16, 16),
    ),
    "attention": (Attention, lambda: torch.randint(20, (12, 6))),
    "recurrence": (Recurrent, lambda: torch.randn(12, 8, 4)),
}


def numbers(report: Any) -> list[float]:
    """What was measured, layer by layer."""
    found = []
    for layer in report.layers:
        found += [
            layer.output.second_moment,
            layer.gradient.second_moment if layer.gradient else 0.0,
            layer.varying or 0.0,
        ]
        found += [layer.correlation or 0.0, layer.rank or 0.0, *layer.unit_moments, *layer.unit_gradients]
        found += [layer.predicted.value if layer.predicted else 0.0]
    return found


def report(case: str, device: str) -> Any:
    torch.manual_seed(3)
    build, inputs = CASES[case]
    model, batch = build(), (inputs(), torch.randint(4, (12,)))
    if device != "cpu":
        model, batch = moved(model, device), moved(batch, device)
    return goodinit.check(model, batch, loss=nn.functional.cross_entropy, jacobian=case == "perceptron")


def watched(device: str) -> list[list[float]]:
    """What a monitor measures in three steps of training."""
    torch.manual_seed(3)
    build, inputs = CASES["perceptron"]
    model, batch = build(), inputs()
    if device != "cpu":
        model, batch = moved(model, device), moved(batch, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with goodinit.Monitor(model, every=1) as monitor:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(batch).square().mean()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    steps = monitor.log.steps
    return [[s.balance or 0.0, s.kept or 0.0, *(layer.output for layer in s.layers)] for s in steps]


@contextmanager
def present(device: str) -> Iterator[None]:
    if device == NAME:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

        _setup_privateuseone_for_python_backend(NAME)
    with Factories() if device == NAME else nullcontext():
        yield


def main(device: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    with present(device):
        for case in CASES:
            one, other = report(case, "cpu"), report(case, device)
            first, second = numbers(one), numbers(other)
            told[case] = {
                "layers": len(other.layers),
                "numbers": [len(first), len(second)],
                "difference": max(
                    abs(a - b) / max(abs(a), abs(b), 1e-30) for a, b in zip(first, second, strict=False)
                ),
                "codes": [[finding.code for finding in each.findings] for each in (one, other)],
                "largest": [[found.largest for found in each.jacobians] for each in (one, other)],
            }
        told["watched"] = [watched("cpu"), watched(device)]
        try:
            moved(CASES["perceptron"][0](), device)(torch.randn(12, 16))
            told["mixed"] = ""
        except RuntimeError as error:
            told["mixed"] = str(error)
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(sys.argv[1])))
