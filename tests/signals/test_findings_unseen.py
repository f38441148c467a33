"""Models of which nothing is seen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.errors import UnhealthyError
from goodinit.signals import check


class Gains(nn.Module):
    """Twelve multiplications element by element, which fade."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.ParameterList(torch.full((8,), 0.01) for _ in range(12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for gain in self.gains:
            x = torch.tanh(x * gain)
        return x


class Mapped(nn.Module):
    """A network inside a function transform."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(self.body)(x)


@pytest.mark.parametrize("kind", [Gains, Mapped])
def test_what_is_not_seen_is_not_called_healthy(kind: type[nn.Module]) -> None:
    report = check(kind(), torch.randn(16, 8), predict=False)
    assert "GI132" in {finding.code for finding in report.findings}
    with pytest.raises(UnhealthyError, match="GI132"):
        report.assert_healthy()


def test_models_with_layers_and_models_without_parameters_are_another_matter() -> None:
    for model in (nn.Sequential(nn.Linear(8, 4), Gains4()), nn.Sequential(nn.Tanh()), nn.Embedding(8, 4)):
        batch = torch.arange(8) if isinstance(model, nn.Embedding) else torch.randn(16, 8)
        codes = {finding.code for finding in check(model, batch, predict=False).findings}
        assert "GI132" not in codes


class Gains4(nn.Module):
    """One gain for each feature."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain
