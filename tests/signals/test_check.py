"""What `check` puts into a report, and what can be left out."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import goodinit
from goodinit.errors import UnhealthyError, WrongTypeError
from goodinit.records import Report
from goodinit.signals import check


def chain(depth: int, std: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, 64), nn.Tanh()]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std / 8)
            nn.init.zeros_(layer.bias)
    return model


def test_theory_stands_beside_what_was_measured_unless_it_is_left_out() -> None:
    model = chain(4, 1.0)
    layers = check(model).layers
    assert all(layer.predicted is not None and layer.predicted_gradient is not None for layer in layers)
    assert all(layer.predicted.low < layer.output.second_moment < layer.predicted.high for layer in layers)
    assert all(layer.predicted is None for layer in check(model, predict=False).layers)


@pytest.mark.parametrize("seed", range(6))
def test_a_slow_drift_is_found_in_every_draw_by_what_theory_expects(seed: int) -> None:
    """A gradient that grows ×1.2 a layer over 20 layers of 64 units; chance alone moves it by e^±1.5."""
    torch.manual_seed(seed)
    report = check(chain(20, 5 / 3), seed=seed)
    finding = next(finding for finding in report.findings if finding.code == "GI105")
    assert 20 < finding.effect < 200
    torch.manual_seed(seed)
    assert check(chain(20, 1.0), seed=seed).healthy


def test_a_model_that_theory_cannot_follow_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules["goodinit.signals.check"]

    def stuck(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no rule for this")

    monkeypatch.setattr(module, "predictions", stuck)
    report = check(chain(3, 1.0))
    assert any("Theory could not follow this model" in note and "no rule" in note for note in report.notes)
    assert len(report.layers) == 6


def test_several_batches_are_measured_together() -> None:
    model = chain(2, 1.0)
    report = check(model, batches=[torch.randn(4, 64), torch.randn(12, 64)])
    assert report.layers[0].output.count == 16 * 64


def test_the_jacobian_is_estimated_where_it_is_asked_for() -> None:
    model = chain(2, 1.0)
    assert check(model).jacobians == ()
    (spectrum,) = check(model, jacobian=True).jacobians
    assert (spectrum.start, spectrum.end, spectrum.inputs) == ("input", "output", 64)


def test_attention_and_effective_depth_are_in_the_report() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.mix(x, x, x, need_weights=False)[0]

    report = check(One(), torch.randn(2, 8, 16))
    assert [signal.heads for signal in report.attention] == [4]
    assert 1.0 <= (check(chain(5, 1.0)).effective_depth or 0.0) <= 5.0


def test_notes_are_findings_that_leave_a_model_healthy_and_survive_json() -> None:
    layer = nn.Linear(8, 8)
    model = nn.Sequential(layer, nn.Linear(8, 8))
    model[1].load_state_dict(layer.state_dict())
    report = check(model)
    assert [finding.severity for finding in report.findings] == ["note"]
    assert report.healthy
    report.assert_healthy()
    assert Report.from_json(report.to_json()) == report
    with torch.no_grad():
        model[1].weight[0, 0] = float("nan")
    with pytest.raises(UnhealthyError, match="GI101"):
        check(model).assert_healthy()


class Aggregating(nn.Module):
    """Sums over the neighbours of a graph, which only the batch knows."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x + neighbours @ x))
        return x


def test_a_cure_is_made_on_a_batch_that_nobody_would_guess() -> None:
    torch.manual_seed(0)
    model, nodes = Aggregating(8, 32), 40
    batch = torch.randn(nodes, 32), (torch.rand(nodes, nodes) < 0.3).float()
    for each in model.layers:
        nn.init.kaiming_normal_(each.weight)
    finding = next(each for each in check(model, batch).findings if each.code == "GI103")
    assert finding.cure == "goodinit.initialize(model, example=batch)"
    goodinit.initialize(model)
    assert not check(model, batch).healthy
    goodinit.initialize(model, example=batch)
    assert check(model, batch).healthy
    assert "example=batch[0])" in _cures(model, (batch, torch.randn(nodes, 32)), nn.functional.mse_loss)
    assert "example" not in _cures(chain(20, 0.5), torch.randn(4, 64), None)


def _cures(model: nn.Module, batch: object, loss: object) -> str:
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.mul_(10.0 if loss else 0.1)
    return " ".join(each.cure for each in check(model, batch, loss=loss).findings)  # type: ignore[arg-type]


@pytest.mark.parametrize("batches", [5, torch.randn(4, 8), {"x": torch.randn(4, 8)}])
def test_what_are_no_batches_is_refused(batches: object) -> None:
    with pytest.raises(WrongTypeError, match="batches: expected a list or another iterable of batches"):
        check(nn.Linear(8, 8), batches=batches)  # type: ignore[arg-type]


def test_batches_are_drawn_one_by_one_and_a_shuffling_loader_moves_no_generator() -> None:
    alive = []

    def drawn() -> Iterator[torch.Tensor]:
        for _ in range(3):
            batch = torch.ones(16, 8)
            alive.append(weakref.ref(batch))
            yield batch
            del batch
            # The first one is kept, for what is looked at afterwards.
            assert all(each() is None for each in alive[1:-1])

    assert check(nn.Linear(8, 8), batches=drawn()).batch.endswith("and 2 more batches")
    loader = DataLoader(TensorDataset(torch.randn(32, 8)), batch_size=8, shuffle=True)
    model, state = nn.Linear(8, 8), torch.get_rng_state()
    assert check(model, batches=loader).healthy
    assert torch.equal(torch.get_rng_state(), state)


def test_the_jacobian_of_token_ids_starts_at_the_first_layer_and_its_failure_is_a_note() -> None:
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 8))
    report = check(model, torch.randint(0, 20, (4, 6)), jacobian=True)
    assert [(each.start, each.end, each.inputs) for each in report.jacobians] == [("0", "output", 96)]

    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).argmax(dim=-1)

    report = check(Deciding(), torch.randn(8, 4), jacobian=True)
    assert report.jacobians == ()
    assert any(note.startswith("The Jacobian could not be estimated (") for note in report.notes)
