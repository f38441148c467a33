"""Which part of a joined signal a reader reads, and what may stand beside a signal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodinit.graph import trace


class Cut(nn.Module):
    """Two results joined, then cut at the seam, or not."""

    def __init__(self, seam: int, join: str = "cat") -> None:
        super().__init__()
        self.seam, self.join = seam, join
        self.one, self.two, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.join == "stack":
            both = torch.stack([self.one(x), self.two(x)], 1)
            return self.out(both[:, 0]), torch.tanh(both[:, 1])
        both = torch.cat([self.one(x), self.two(x)], -1)
        return self.out(both[:, : self.seam][:, :6]), torch.tanh(both[:, self.seam :])


def test_each_part_of_a_join_goes_where_it_is_read() -> None:
    for join in ("cat", "stack"):
        graph = trace(Cut(6, join), torch.zeros(3, 4))
        assert [sink.kind for sink in graph["one.weight"][0].sinks] == ["weight"]
        assert [sink.kind for sink in graph["two.weight"][0].sinks] == ["output"]


def test_a_part_that_is_cut_goes_to_both_readers() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            both = torch.cat([self.one(x), self.two(x)], -1)
            return self.out(both[:, :4]), torch.tanh(both[:, 4:])

    graph = trace(Early(), torch.zeros(3, 4))
    assert {sink.kind for use in graph["one.weight"] for sink in use.sinks} == {"weight", "output"}
    assert {sink.kind for use in graph["two.weight"] for sink in use.sinks} == {"output"}


class Beside(nn.Module):
    """A signal, and an input that only multiplies."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer, self.other = how, nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        if self.how == "entering":
            return self.layer(x) * self.other(beside)
        out: Tensor = x + (beside @ self.layer(x) if self.how == "matrix" else beside * self.layer(x))
        return out


def test_an_input_that_only_multiplies_is_no_gate() -> None:
    for how, shape in (("matrix", (8, 8)), ("mask", (8, 1)), ("same", (8, 8))):
        use = trace(Beside(how), (torch.zeros(8, 8), torch.rand(shape)))["layer.weight"][0]
        assert (use.gate, use.sink.kind) == ("", "residual"), how
    assert trace(Beside("entering"), (torch.zeros(8, 8), torch.rand(8, 8)))["layer.weight"][0].gate


def test_the_signal_of_a_layer_whose_weights_are_made_does_not_stand_beside_it() -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maker = nn.Linear(3, 8 * 5)

        def forward(self, x: Tensor, context: Tensor) -> Tensor:
            return torch.einsum("boi,bi->bo", self.maker(context).view(-1, 5, 8), x)

    graph = trace(Made(), (torch.zeros(4, 8), torch.zeros(4, 3)))
    assert graph["maker.weight"][0].sink.kind == "generated"
