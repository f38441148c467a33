"""The families of networks that `calibration.py` judges: correctly initialised ones, and planted faults."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from _families import (
    Every,
    Experts,
    Language,
    Last,
    Patches,
    Unet,
    chain,
    convnet,
    filled,
    gain,
    kaiming,
    orthogonal,
    resnet,
    xavier,
)
from torch import Tensor, nn

import goodinit

__all__ = ["FAULTY", "HEALTHY", "Family"]

BATCH = 16
ACTIVATIONS = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU
ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"""


@dataclass(frozen=True)
class Family:
    """How to build a network, what it takes, and how its output is judged."""

    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Tensor]
    classes: int | None = 10
    codes: frozenset[str] = frozenset()
    # Whether this draw has the fault; of most, every draw has.
    real: Callable[[nn.Module, Tensor], bool] = lambda model, x: True


def faded(model: nn.Module, x: Tensor) -> bool:
    """Is less than 1e-4 of the second moment left at the last linear layer but one?

    GELU and SiLU with He's gain multiply a second moment above some 3 and divide one below it, so
    that by chance a few draws keep their signal over 50 layers.
    """
    sizes: list[float] = []
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for module in linear:
        module.register_forward_hook(lambda _, inputs, out: sizes.append(float(out.square().mean())))
    with torch.no_grad():
        model(x)
    for module in linear:
        module._forward_hooks.clear()
    return sizes[-2] < 1e-4 * sizes[0]


def rows(generator: torch.Generator) -> Tensor:
    """Vectors."""
    return torch.randn(BATCH, 64, generator=generator)


def pictures(generator: torch.Generator) -> Tensor:
    """Pictures that differ in their mean, as natural ones do."""
    return torch.randn(BATCH, 1, 1, 1, generator=generator) + torch.randn(BATCH, 1, 8, 8, generator=generator)


def ids(generator: torch.Generator) -> Tensor:
    """Characters."""
    return torch.randint(0, 64, (4, 24), generator=generator)


def sequences(length: int) -> Callable[[torch.Generator], Tensor]:
    """Sequences of two numbers."""
    return lambda generator: torch.randn(BATCH, length, 2, generator=generator)


def auto(model: nn.Module) -> nn.Module:
    """Fill by the default recipe, under a seed of this draw's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        goodinit.initialize(model, seed=int(torch.randint(0, 2**31, ())))
    return model


def _mlp(
    depth: int, width: int, act: type[nn.Module], fill: Callable[[Tensor], object] | None, *codes: str
) -> Family:
    def build() -> nn.Module:
        model = chain(depth, width, act)
        return model if fill is None else filled(model, fill)

    return Family(build, rows, codes=frozenset(codes))


def _core(kind: type[nn.RNNBase], inputs: int = 2, hidden: int = 24) -> nn.Module:
    return kind(inputs, hidden, batch_first=True)


HEALTHY: dict[str, Family] = {
    **{
        f"He, ReLU, depth {depth}, width {width}": _mlp(depth, width, nn.ReLU, kaiming)
        for depth, width in ((2, 16), (5, 32), (10, 64), (20, 128), (30, 64), (50, 96), (3, 1024))
    },
    "He, leaky ReLU, depth 20, width 64": _mlp(20, 64, nn.LeakyReLU, kaiming),
    "orthogonal, ReLU, depth 30, width 64": _mlp(30, 64, nn.ReLU, orthogonal(2**0.5)),
    "orthogonal, tanh, depth 30, width 64": _mlp(30, 64, nn.Tanh, orthogonal(1.0)),
    "Xavier, tanh, depth 5, width 32": _mlp(5, 32, nn.Tanh, xavier()),
    "Xavier, tanh, depth 30, width 64": _mlp(30, 64, nn.Tanh, xavier()),
    "Xavier, softsign, depth 10, width 64": _mlp(10, 64, nn.Softsign, xavier()),
    "Xavier, sigmoid, depth 2, width 64": _mlp(2, 64, nn.Sigmoid, xavier()),
    "LeCun, SELU, depth 20, width 64": _mlp(20, 64, nn.SELU, gain(1.0)),
    "LeCun, SELU, depth 50, width 64": _mlp(50, 64, nn.SELU, gain(1.0)),
    "LeCun, ELU, depth 10, width 64": _mlp(10, 64, nn.ELU, gain(1.0)),
    "He, GELU, depth 6, width 64": _mlp(6, 64, nn.GELU, kaiming),
    "He, SiLU, depth 6, width 64": _mlp(6, 64, nn.SiLU, kaiming),
    "torch's default, ReLU, depth 2, width 64": _mlp(2, 64, nn.ReLU, None),
    "torch's default, ReLU, depth 4, width 64": _mlp(4, 64, nn.ReLU, None),
    **{
        f"auto, {name}, depth 8, width 48": Family(
            lambda name=name: auto(chain(8, 48, getattr(nn, name))),  # type: ignore[misc]
            rows,
        )
        for name in ACTIVATIONS.split()
    },
    "auto, ReLU, depth 100, width 64": Family(lambda: auto(chain(100, 64, nn.ReLU)), rows),
    "auto, tanh, depth 100, width 64": Family(lambda: auto(chain(100, 64, nn.Tanh)), rows),
    "tiny, 4 → 2": Family(lambda: nn.Linear(64, 2), rows, 2),
    "tiny, one unit": Family(lambda: chain(1, 1, nn.Tanh, (64, 2)), rows, 2),
    "tiny, three units": Family(lambda: filled(chain(2, 3, nn.Tanh), xavier()), rows),
    "autoencoder, auto": Family(
        lambda: auto(
            nn.Sequential(
                nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4), nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 64)
            )
        ),
        rows,
        None,
    ),
    "mixture of experts, default": Family(Experts, rows),
    "mixture of experts, auto": Family(lambda: auto(Experts()), rows),
    "convolutions, He, depth 5": Family(lambda: filled(convnet(5), kaiming), pictures),
    "convolutions, He, depth 15": Family(lambda: filled(convnet(15), kaiming), pictures),
    "convolutions, default, depth 3": Family(lambda: convnet(3), pictures),
    "batch norm, plain, depth 6": Family(lambda: convnet(6, norm=True), pictures),
    "residual, batch norm": Family(lambda: resnet(6), pictures),
    "residual, batch norm, He": Family(lambda: filled(resnet(6), kaiming), pictures),
    "residual, no norm, auto": Family(lambda: auto(resnet(8, norm=False)), pictures),
    "U-Net, He": Family(lambda: filled(Unet(), kaiming), pictures, None),
    "U-Net, default": Family(Unet, pictures, None),
    "vision Transformer, default": Family(Patches, pictures),
    "vision Transformer, auto": Family(lambda: auto(Patches()), pictures),
    "pre-norm Transformer, default": Family(lambda: Language(3), ids, 64),
    "pre-norm Transformer, auto": Family(lambda: auto(Language(3)), ids, 64),
    "pre-norm Transformer, auto, tied": Family(lambda: auto(Language(3, tied=True)), ids, 64),
    "post-norm Transformer, default": Family(lambda: Language(3, style="post"), ids, 64),
    "post-norm Transformer, auto": Family(lambda: auto(Language(3, style="post")), ids, 64),
    "LSTM, default, 16 steps": Family(lambda: Last(_core(nn.LSTM), 24, 10), sequences(16)),
    "LSTM, auto, 32 steps": Family(lambda: auto(Last(_core(nn.LSTM), 24, 10)), sequences(32)),
    "GRU, default, 16 steps": Family(lambda: Last(_core(nn.GRU), 24, 10), sequences(16)),
    "GRU, default, 100 steps": Family(lambda: Last(_core(nn.GRU), 24, 10), sequences(100)),
    "RNN, default, 12 steps": Family(lambda: Last(_core(nn.RNN), 24, 10), sequences(12)),
    "RNN, auto, 32 steps": Family(lambda: auto(Last(_core(nn.RNN), 24, 10)), sequences(32)),
    "LSTM on characters, default": Family(lambda: Every(_core(nn.LSTM, 16), 24, 64, 16), ids, 64),
}


def _tokens_of(std: float) -> nn.Module:
    model = Language(3)
    nn.init.normal_(model.table.weight, std=std)
    return model


def _candidate_of(bias: float) -> nn.Module:
    core = _core(nn.GRU)
    with torch.no_grad():
        core.bias_ih_l0[-core.hidden_size :] = bias
    return Last(core, 24, 10)


FAULTY: dict[str, Family] = {
    "torch's default, ReLU, depth 10, width 64": _mlp(10, 64, nn.ReLU, None, "GI104", "GI108"),
    "torch's default, ReLU, depth 30, width 128": _mlp(30, 128, nn.ReLU, None, "GI119"),
    "torch's default, tanh, depth 20, width 64": _mlp(20, 64, nn.Tanh, None, "GI104"),
    "tanh, gain 5/3, depth 20, width 64": _mlp(20, 64, nn.Tanh, gain(5 / 3), "GI105"),
    "tanh, gain 5/3, depth 20, width 128": _mlp(20, 128, nn.Tanh, gain(5 / 3), "GI105"),
    "tanh, gain 5/3, depth 30, width 128": _mlp(30, 128, nn.Tanh, gain(5 / 3), "GI111"),
    "tanh, gain 3, depth 10, width 64": _mlp(10, 64, nn.Tanh, gain(3.0), "GI105"),
    "ReLU, 1.5 × He, depth 10, width 64": _mlp(10, 64, nn.ReLU, gain(1.5 * 2**0.5), "GI103"),
    "ReLU, He / √2, depth 20, width 128": _mlp(20, 128, nn.ReLU, gain(1.0), "GI102"),
    "ReLU, std 0.01, depth 4, width 64": _mlp(4, 64, nn.ReLU, lambda w: nn.init.normal_(w, 0, 0.01), "GI102"),
    "GELU, LeCun, depth 20, width 64": _mlp(20, 64, nn.GELU, gain(1.0), "GI102"),
    **{
        f"{act.__name__}, He, depth 50, width 128": Family(
            lambda act=act: filled(chain(50, 128, act), gain(2**0.5)),  # type: ignore[misc]
            rows,
            codes=frozenset({"GI102", "GI104"}),
            real=faded,
        )
        for act in (nn.GELU, nn.SiLU)
    },
    "sigmoid, Xavier, depth 10, width 64": _mlp(10, 64, nn.Sigmoid, xavier(), "GI104"),
    "batch norm, plain, depth 40": Family(
        lambda: convnet(40, 8, norm=True), pictures, codes=frozenset({"GI124"})
    ),
    "residual, no norm, He, 16 blocks": Family(
        lambda: filled(resnet(16, norm=False), kaiming), pictures, codes=frozenset({"GI114"})
    ),
    "attention alone, depth 6": Family(lambda: Language(6, style="bare"), ids, 64, frozenset({"GI112"})),
    "tokens of std 0.02 beside positions of std 1": Family(
        lambda: _tokens_of(0.02), ids, 64, frozenset({"GI108"})
    ),
    "tied embedding, N(0, 1)": Family(lambda: Language(2, 64, tied=True), ids, 64, frozenset({"GI122"})),
    "RNN, default, 100 steps": Family(
        lambda: Last(_core(nn.RNN), 24, 10), sequences(100), codes=frozenset({"GI127"})
    ),
    "LSTM, default, 100 steps": Family(
        lambda: Last(_core(nn.LSTM), 24, 10), sequences(100), codes=frozenset({"GI120"})
    ),
    "weights of one sign, ReLU, depth 10": _mlp(
        10, 64, nn.ReLU, lambda w: nn.init.uniform_(w, 0, 2 / w.shape[1]), "GI112"
    ),
    "weights of one value and a hundredth, ReLU, depth 6": _mlp(
        6, 64, nn.ReLU, lambda w: nn.init.normal_(w, 1 / w.shape[1], 0.01 / w.shape[1]), "GI110"
    ),
    "GRU with a flat candidate": Family(
        lambda: _candidate_of(-10.0), sequences(32), codes=frozenset({"GI109"})
    ),
    "GRU that takes the batch for time": Family(
        lambda: Last(nn.GRU(2, 24), 24, 10), sequences(16), codes=frozenset({"GI128"})
    ),
    "softmax before cross-entropy": Family(
        lambda: nn.Sequential(convnet(4, norm=True), nn.Softmax(dim=1)), pictures, codes=frozenset({"GI129"})
    ),
}
