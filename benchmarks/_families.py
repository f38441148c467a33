"""Small networks of many families, for the benchmarks that judge `check`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Fill = Callable[[Tensor], object]


def chain(
    depth: int, width: int, act: Callable[[], nn.Module], ends: tuple[int, int] = (64, 10)
) -> nn.Module:
    """A plain MLP of `depth` hidden layers."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(width if index else ends[0], width), act()]
    return nn.Sequential(*layers, nn.Linear(width, ends[1]))


def convnet(depth: int, channels: int = 16, norm: bool = False, inputs: int = 1) -> nn.Module:
    """A plain convolutional network with one mean over positions at its end."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers.append(nn.Conv2d(channels if index else inputs, channels, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(channels), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Residual(nn.Module):
    """x + f(x), f of two convolutions, with batch norms or without."""

    def __init__(self, channels: int, norm: bool = True) -> None:
        super().__init__()
        one: Callable[[], nn.Module] = (lambda: nn.BatchNorm2d(channels)) if norm else nn.Identity
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            one(),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            one(),
        )
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Add what the body makes of x."""
        y = x + self.body(x)
        return torch.relu(y) if self.norm else y


def resnet(blocks: int = 6, channels: int = 16, norm: bool = True, inputs: int = 1) -> nn.Module:
    """A small residual network."""
    body = [Residual(channels, norm) for _ in range(blocks)]
    stem = nn.Conv2d(inputs, channels, 3, padding=1)
    return nn.Sequential(stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Block(nn.Module):
    """A Transformer block: pre-norm, post-norm, or attention alone."""

    def __init__(self, width: int, heads: int, style: str) -> None:
        super().__init__()
        self.style, self.heads = style, heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if style != "bare":
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        """Causal self-attention."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        if self.style == "bare":
            return self.attend(x)
        if self.style == "pre":
            x = x + self.attend(self.first(x))
            return x + self.down(nn.functional.gelu(self.up(self.second(x))))  # type: ignore[no-any-return]
        x = self.first(x + self.attend(x))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))  # type: ignore[no-any-return]


class Language(nn.Module):
    """A causal Transformer on character ids; with `tied`, the head is the embedding."""

    def __init__(
        self, depth: int, width: int = 32, style: str = "pre", tied: bool = False, ids: int = 64
    ) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(ids, width), nn.Embedding(64, width)
        self.blocks = nn.Sequential(*(Block(width, 4, style) for _ in range(depth)))
        self.norm = nn.LayerNorm(width) if style == "pre" else nn.Identity()
        self.head = nn.Linear(width, ids, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the next character."""
        h = self.table(x) + self.places(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(h)))  # type: ignore[no-any-return]


class Patches(nn.Module):
    """A tiny vision Transformer on 8×8 pictures."""

    def __init__(self, depth: int = 3, width: int = 32) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, width, 2, stride=2)
        self.place = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, 4, "pre") for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classify."""
        h = self.blocks(self.cut(x).flatten(2).transpose(1, 2) + self.place)
        return self.head(self.norm(h).mean(1))  # type: ignore[no-any-return]


class Last(nn.Module):
    """A recurrent network read at its last step."""

    def __init__(self, core: nn.Module, hidden: int, outputs: int) -> None:
        super().__init__()
        self.core, self.head = core, nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Read the last output."""
        return self.head(self.core(x)[0][:, -1])  # type: ignore[no-any-return]


class Every(nn.Module):
    """A recurrent network on ids, read at every one of its last `tail` steps."""

    def __init__(self, core: nn.Module, hidden: int, ids: int, inputs: int, tail: int | None = None) -> None:
        super().__init__()
        self.table, self.core, self.head = nn.Embedding(ids, inputs), core, nn.Linear(hidden, ids)
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        """Return logits at the steps that are read."""
        h = self.core(self.table(x))[0]
        return self.head(h if self.tail is None else h[:, -self.tail :])  # type: ignore[no-any-return]


class Unet(nn.Module):
    """Two scales down and up, joined by concatenation."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        c = channels
        self.first, self.second = nn.Conv2d(1, c, 3, padding=1), nn.Conv2d(c, 2 * c, 3, padding=1)
        self.bottom, self.up = (
            nn.Conv2d(2 * c, 2 * c, 3, padding=1),
            nn.ConvTranspose2d(2 * c, c, 2, stride=2),
        )
        self.join, self.last = nn.Conv2d(2 * c, c, 3, padding=1), nn.Conv2d(c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a picture."""
        a = torch.relu(self.first(x))
        b = torch.relu(self.second(nn.functional.max_pool2d(a, 2)))
        up = torch.relu(self.up(torch.relu(self.bottom(b))))
        return self.last(torch.relu(self.join(torch.cat([a, up], 1))))  # type: ignore[no-any-return]


class Experts(nn.Module):
    """A mixture of experts between two linear layers, each input sent to its two best."""

    def __init__(self, width: int = 32, experts: int = 4) -> None:
        super().__init__()
        self.first, self.route = nn.Linear(64, width), nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for _ in range(experts)
        )
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the two best experts of every row."""
        h = torch.relu(self.first(x))
        weight, chosen = self.route(h).softmax(-1).topk(2)
        mixed = torch.zeros_like(h)
        for index, expert in enumerate(self.experts):
            rows, place = (chosen == index).nonzero(as_tuple=True)
            mixed = mixed.index_add(0, rows, weight[rows, place, None] * expert(h[rows]))
        return self.last(h + mixed)  # type: ignore[no-any-return]


def filled(model: nn.Module, fill: Fill, bias: float = 0.0) -> nn.Module:
    """Fill every matrix and set every bias."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            fill(parameter)
        elif name.endswith("bias"):
            nn.init.constant_(parameter, bias)
    return model


def gain(factor: float) -> Fill:
    """Return a normal fill of std factor/√fan_in."""
    return lambda w: nn.init.normal_(w, 0.0, factor / math.sqrt(w.numel() / w.shape[0]))


def xavier(factor: float = 1.0) -> Fill:
    """Return Xavier's normal fill."""
    return lambda w: nn.init.xavier_normal_(w, factor)


def orthogonal(factor: float = 1.0) -> Fill:
    """Return an orthogonal fill."""
    return lambda w: nn.init.orthogonal_(w, factor)


kaiming: Fill = nn.init.kaiming_normal_
