"""Faults planted in the values themselves: copies, repeated shards, equal units, padding rows."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import goodinit
from goodinit.records import Finding
from goodinit.signals import check
from goodinit.signals.judging.patterns import equal_rows, repeats


def found(model: nn.Module, batch: object = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(model, batch, predict=False).findings}


def healthy(width: int = 32) -> nn.Sequential:
    model = nn.Sequential(
        nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 6)
    )
    assert not found(model)
    return model


@pytest.mark.parametrize("width", [8, 32, 128])
@pytest.mark.parametrize("shards", [2, 4])
@pytest.mark.parametrize("dim", [0, 1])
def test_shards_drawn_from_one_seed_are_found(width: int, shards: int, dim: int) -> None:
    model = healthy(width)
    with torch.no_grad():
        part = model[2].weight.chunk(shards, dim)[0].clone()
        model[2].weight.copy_(torch.cat([part] * shards, dim))
    finding = found(model)["GI116"]
    assert (finding.where, finding.effect, finding.severity) == (("2.weight",), float(shards), "error")


def test_mirrored_and_sparse_weights_are_no_copies() -> None:
    model = healthy(32)
    with torch.no_grad():
        half = torch.randn(16, 16) / 4
        model[2].weight.copy_(torch.cat([torch.cat([half, -half], 1), torch.cat([-half, half], 1)]))
    assert "GI116" not in found(model)
    with torch.no_grad():
        model[2].weight.copy_(torch.eye(16).repeat(2, 2))
    assert "GI116" not in found(model)


def test_repeats_counts_chunks_of_any_number_and_no_constants() -> None:
    part = torch.randn(3, 5)
    assert repeats(part.repeat(7, 1)) == 7
    assert repeats(part.repeat(1, 3)) == 3
    assert repeats(part) == 1
    assert repeats(torch.ones(8, 8)) == 1
    nearly = part.repeat(2, 1)
    nearly[-1, -1] += 1e-6
    assert repeats(nearly) == 1


@pytest.mark.parametrize("pairs", [1, 3, 10])
def test_units_with_the_same_weights_are_counted(pairs: int) -> None:
    model = healthy(32)
    with torch.no_grad():
        model[0].weight[16 : 16 + pairs] = model[0].weight[:pairs]
    finding = found(model)["GI110"]
    assert (finding.where, finding.effect, finding.severity) == (("0.weight",), 2.0 * pairs, "warning")


def test_equal_rows_are_told_from_nearly_equal_ones_and_from_zeros() -> None:
    rows = torch.randn(50, 9)
    rows[7] = rows[3]
    rows[9] = rows[3]
    rows[11] = rows[4]
    rows[11, 2] += 1e-6
    rows[20:30] = 0.0
    assert equal_rows(rows) == 3


def test_one_input_in_half_precision_may_give_equal_rows_by_chance() -> None:
    model = nn.Sequential(nn.Linear(1, 512), nn.ReLU(), nn.Linear(512, 4)).bfloat16()
    assert torch.unique(model[0].weight).numel() < 512
    assert "GI110" not in found(model, torch.randn(16, 1).bfloat16())


def test_equal_units_before_a_pixel_shuffle_are_a_known_choice() -> None:
    class Up(nn.Module):
        def __init__(self, shuffled: bool) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, padding=1)
            with torch.no_grad():
                self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, 0))
            self.after = nn.PixelShuffle(2) if shuffled else nn.Tanh()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.after(self.conv(x))

    assert "GI110" not in found(Up(shuffled=True))
    assert "GI110" in found(Up(shuffled=False))


def test_groups_see_different_inputs_so_equal_kernels_are_no_symmetry() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1))
    with torch.no_grad():
        model[0].weight[6] = model[0].weight[1]
    assert "GI110" not in found(model)
    with torch.no_grad():
        model[0].weight[2] = model[0].weight[1]
    assert "GI110" in found(model)


@pytest.mark.parametrize("count", [2, 5])
def test_identical_layers_are_noted_and_do_not_make_a_model_sick(count: int) -> None:
    layer = nn.Linear(12, 12)
    model = nn.Sequential(*(copy.deepcopy(layer) for _ in range(count)))
    report = check(model)
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.effect) == ("GI115", "note", float(count))
    assert report.healthy
    report.assert_healthy()
    assert check(nn.Sequential(*(nn.Linear(12, 12) for _ in range(count)))).findings == ()


def test_layers_that_start_from_one_formula_are_no_copies() -> None:
    class Decaying(nn.Module):
        """As in state space models: the same range of decays in each layer."""

        def __init__(self, decays: torch.Tensor) -> None:
            super().__init__()
            self.layer, self.decay = nn.Linear(8, 8), nn.Parameter(decays.clone())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x)
            return x + (y[..., None] * self.decay.sigmoid()).mean(-1)

    ranges = torch.arange(1.0, 17.0).log().repeat(8, 1)
    powers = torch.linspace(0, 1, 16).view(1, 16) ** 0.7
    for decays, same in ((ranges, False), (powers, False), (torch.randn(8, 16), True)):
        model = nn.Sequential(*(Decaying(decays) for _ in range(3)))
        assert ("GI115" in found(model)) == same


def test_a_padding_row_that_a_fill_overwrote_is_found() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 8, padding_idx=3), nn.Linear(8, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(ids))

    model = Text()
    ids = torch.randint(0, 20, (8, 5))
    assert "GI118" not in found(model, ids)
    nn.init.normal_(model.table.weight, std=0.1)
    finding = found(model, ids)["GI118"]
    assert finding.where == ("table.weight",)
    assert finding.effect == pytest.approx(float(model.table.weight[3].detach().square().mean()))
    with torch.no_grad():
        model.table.weight[model.table.padding_idx].zero_()
    assert "GI118" not in found(model, ids)


@pytest.mark.parametrize("width", [16, 32, 128])
@pytest.mark.parametrize("spread", [1e-5, 1e-3, 0.05])
def test_elements_that_hardly_differ_beside_their_mean_are_found(width: int, spread: float) -> None:
    torch.manual_seed(width)
    model = healthy(width)
    for mean in (0.5, -0.01):
        nn.init.normal_(model[2].weight, mean, abs(mean) * spread)
        finding = found(model)["GI110"]
        assert (finding.where, finding.severity) == (("2.weight",), "warning")
        assert finding.effect == pytest.approx(spread, rel=0.1)
    goodinit.initialize(model)
    assert "GI110" not in found(model)
    # Uniform on [0, b], half its mean apart: what that does to the signal is another finding's matter.
    nn.init.uniform_(model[2].weight, 0.0, 2.0 / width)
    assert "GI110" not in found(model)


def test_where_a_body_is_frozen_the_cure_leaves_it_alone() -> None:
    torch.manual_seed(0)
    model = healthy()
    for module in (model[0], model[4]):
        module.requires_grad_(False)
    model.insert(4, nn.Linear(32, 32, bias=False))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[4].weight)
    kept = model[0].weight.clone()
    finding = found(model)["GI101"]
    assert set(finding.where) == {"2.weight", "4.weight"}
    assert "every trainable weight" in finding.cause
    for line in finding.cure.partition(": ")[2].split("; then "):
        exec(line, {"goodinit": goodinit, "torch": torch, "model": model})
    assert "GI101" not in found(model)
    assert torch.equal(model[0].weight, kept)
