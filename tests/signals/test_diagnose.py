"""One planted fault for each finding, beside the healthy model that it was planted in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from goodinit.errors import UnhealthyError
from goodinit.signals import check, diagnose, probe


def healthy(depth: int = 6, width: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def codes(model: nn.Module, batch: object = None) -> list[str]:
    return [finding.code for finding in check(model, batch).findings]


def test_the_model_in_which_faults_are_planted_is_healthy() -> None:
    report = check(healthy())
    assert report.healthy
    report.assert_healthy()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e20, -1e20])
def test_one_absurd_value_in_a_parameter_is_found_by_name(value: float) -> None:
    model = healthy()
    with torch.no_grad():
        model[4].weight[3, 3] = value
    finding = check(model).findings[0]
    assert (finding.code, finding.where, finding.severity) == ("GI101", ("4.weight",), "error")


def test_memory_read_as_subnormal_numbers_is_found() -> None:
    model = healthy()
    with torch.no_grad():
        model[4].weight.copy_(torch.full((32, 32), 7, dtype=torch.int32).view(torch.float32))
    findings = {finding.code: finding for finding in check(model).findings}
    assert findings["GI101"].where == ("4.weight",)
    assert "subnormal" in findings["GI101"].cause


def test_half_precision_draws_near_its_subnormals_are_no_garbage() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    for weight in (model[0].weight, model[2].weight):
        nn.init.normal_(weight, 0.0, 0.02)
    assert "GI101" not in codes(model.half())


def test_a_model_of_nothing_but_zeros_is_never_initialised() -> None:
    model = healthy()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    found = check(model).findings
    assert {finding.code for finding in found} >= {"GI101", "GI106", "GI108"}


def test_a_zero_last_layer_is_the_authors_choice() -> None:
    model = healthy()
    nn.init.zeros_(model[-1].weight)
    report = check(model)
    assert report.healthy
    assert any("All zeros: '12.weight'" in note for note in report.notes)
    assert any("not judged backward" in note for note in report.notes)


@pytest.mark.parametrize("inputs", [3, 64])
def test_a_single_layer_of_zeros_is_how_logistic_regression_starts(inputs: int) -> None:
    model = nn.Linear(inputs, 4)
    nn.init.zeros_(model.weight)
    assert check(model, torch.randn(16, inputs)).healthy
    assert check(nn.Sequential(model), torch.randn(16, inputs)).healthy


def test_a_zero_layer_in_the_middle_is_not() -> None:
    model = healthy()
    nn.init.zeros_(model[4].weight)
    report = check(model)
    assert {"GI106", "GI108"} <= {finding.code for finding in report.findings}
    assert "its weight is all zeros" in next(f.cause for f in report.findings if f.code == "GI108")


@pytest.mark.parametrize("where", [0, 2, 6, 10, 12])
@pytest.mark.parametrize("factor", [3e3, 1e5])
def test_one_layer_that_multiplies_is_found_wherever_it_is(where: int, factor: float) -> None:
    model = healthy()
    with torch.no_grad():
        model[where].weight.mul_(factor)
    assert "GI103" in codes(model)


@pytest.mark.parametrize("where", [0, 2, 6, 10])
def test_one_layer_that_kills_the_signal_is_found_wherever_it_is(where: int) -> None:
    model = healthy()
    with torch.no_grad():
        model[where].weight.mul_(1e-5)
    assert "GI102" in codes(model)


def test_a_small_last_layer_is_no_fault() -> None:
    model = healthy()
    with torch.no_grad():
        model[-1].weight.mul_(0.01)
    assert check(model).healthy


@pytest.mark.parametrize(
    ("factor", "vanishing", "exploding"), [(0.1, 2, 0), (0.3, 2, 0), (3.0, 0, 2), (10.0, 0, 2)]
)
def test_faults_of_several_sizes_at_depth(factor: float, vanishing: int, exploding: int) -> None:
    model = healthy(depth=12)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear):
                module.weight.mul_(factor)
    found = codes(model)
    assert sum(code in ("GI102", "GI104") for code in found) == vanishing
    assert sum(code in ("GI103", "GI105") for code in found) == exploding


def test_effects_measure_the_planted_factor() -> None:
    model = healthy(depth=12, width=256)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear):
                module.weight.mul_(2.0)
    findings = {finding.code: finding for finding in check(model).findings}
    for code in ("GI103", "GI105"):
        low, high = findings[code].interval
        # 4 per layer over the 12 steps between 13 points.
        assert low < 4.0**12 < high
        assert findings[code].expected[1] < findings[code].effect


def test_dead_units_are_found_with_their_share() -> None:
    model = healthy()
    with torch.no_grad():
        model[2].bias[:24] = -100.0
    (finding,) = check(model).findings
    assert (finding.code, finding.where, finding.severity) == ("GI106", ("3",), "error")
    assert finding.effect == pytest.approx(24 / 32, abs=0.07)


def test_dead_channels_of_a_narrow_convolution_are_found() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)
    )
    assert check(model).healthy
    with torch.no_grad():
        model[2].bias[:12] = -100.0
    assert codes(model) == ["GI106"]


def test_nan_is_reported_at_the_layer_where_it_began() -> None:
    class Log(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.log()

    report = check(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), Log(), nn.Linear(8, 8)), torch.randn(16, 8))
    (finding,) = report.findings
    assert (finding.code, finding.where) == ("GI107", ("2",))
    assert "its inputs and parameters are finite" in finding.cause


def test_nan_made_between_layers_is_said_to_come_from_before() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).log())

    (finding,) = check(Between(), torch.randn(16, 8)).findings
    assert finding.where == ("Between",)
    assert "already its input was not finite" in finding.cause
    assert finding.cause.endswith(": NaN begins in the operation log.")


def test_nan_made_on_the_way_back_is_found() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 0).abs().sqrt() + x  # the slope of √ at 0 is infinite, times 0

    report = check(nn.Sequential(nn.Linear(8, 8), Root(), nn.Linear(8, 2)), torch.randn(16, 8))
    assert [(f.code, f.where) for f in report.findings] == [("GI107", ("0",))]


def test_nan_in_the_batch_is_blamed_on_the_batch() -> None:
    (finding,) = check(nn.Linear(4, 2), torch.full((3, 4), math.nan)).findings
    assert finding.where == ("the batch",)


@pytest.mark.parametrize("head", [nn.Identity, nn.Tanh])
def test_nan_that_begins_after_the_last_layer_is_found_without_a_loss(head: type[nn.Module]) -> None:
    class Late(nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.body, self.shift = nn.Sequential(nn.Linear(8, 8), head()), shift

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.body(x) + self.shift).log()

    finding = next(f for f in check(Late(-100.0), torch.randn(16, 8)).findings if f.code == "GI107")
    assert (finding.where, finding.effect, finding.severity) == (("Late",), 128.0, "error")
    assert finding.cause.endswith(": NaN begins in the operation log.")
    assert check(Late(100.0), torch.randn(16, 8)).healthy


def test_minus_infinity_in_the_output_is_what_masks_put_there() -> None:
    class Masked(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.body, self.value = nn.Linear(8, 8), value

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x).masked_fill(torch.arange(8) < 3, self.value)

    assert "GI107" not in codes(Masked(-math.inf), torch.randn(4, 8))
    assert "GI107" in codes(Masked(math.inf), torch.randn(4, 8))


def test_a_loss_that_is_not_finite_is_found() -> None:
    report = check(nn.Linear(4, 2), torch.randn(3, 4), loss=lambda y: y.sum() * 0 + math.inf)
    assert [(f.code, f.where) for f in report.findings] == [("GI107", ("loss",))]


def test_a_network_whose_biases_hold_up_the_second_moment_is_not_called_healthy() -> None:
    model = healthy(depth=8)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear):
                module.weight.mul_(0.1)
                nn.init.normal_(module.bias)
    findings = {finding.code: finding for finding in check(model).findings}
    assert "GI108" in findings
    assert findings["GI108"].effect < 1e-4
    # By size alone nothing fades.
    assert "GI102" not in findings


def test_a_batch_of_equal_samples_is_not_blamed_on_the_model() -> None:
    report = check(healthy(), torch.randn(1, 32).expand(16, 32).clone())
    assert "GI108" not in [finding.code for finding in report.findings]
    assert any("All samples of the batch are the same" in note for note in report.notes)


def test_saturated_units_are_found() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
    assert check(model).healthy
    with torch.no_grad():
        model[0].weight.mul_(50.0)
    (finding,) = check(model).findings
    assert (finding.code, finding.where, finding.severity) == ("GI109", ("1",), "warning")


def test_a_constant_weight_is_found_and_a_norms_ones_are_not() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm((8,)), nn.ReLU(), nn.Linear(8, 2))
    assert check(model).healthy
    nn.init.constant_(model[0].weight, 0.1)
    assert "GI110" in codes(model)


def test_gradients_that_fade_to_exact_zero_are_vanishing_not_unjudged() -> None:
    layers: list[nn.Module] = []
    for _ in range(60):
        layers += [nn.Linear(32, 32), nn.Sigmoid()]
    model = nn.Sequential(*layers)
    seen = probe(model)
    assert seen.layers[0].gradient.second_moment < 1e-80
    finding = next(finding for finding in diagnose(seen) if finding.code == "GI104")
    assert finding.where[0] == "0"


def test_errors_come_before_warnings_and_assert_healthy_lists_all() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
    with torch.no_grad():
        model[0].weight.mul_(50.0)
        model[2].weight[0, 0] = math.nan
    report = check(model)
    assert [finding.severity for finding in report.findings] == ["error", "error", "warning"]
    with pytest.raises(UnhealthyError, match=r"(?s)not healthy:.*GI101.*GI107.*GI109.*Cure:"):
        report.assert_healthy()


def test_cures_suit_the_activation() -> None:
    def cure(act: type[nn.Module]) -> str:
        layers: list[nn.Module] = []
        for _ in range(30):
            layers += [nn.Linear(32, 32), act()]
        return check(nn.Sequential(*layers)).findings[0].cure

    assert cure(nn.ReLU) == cure(nn.Tanh) == "goodinit.initialize(model)"
    assert cure(nn.Sigmoid).startswith("use ReLU or Tanh")


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.GELU, nn.SELU])
def test_the_cure_cures(act: type[nn.Module]) -> None:
    import goodinit

    layers: list[nn.Module] = []
    for _ in range(20):
        layers += [nn.Linear(64, 64), act()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    assert not check(model).healthy
    goodinit.initialize(model)
    assert check(model).healthy


@pytest.mark.parametrize("bias", [-8.0, 1000.0])
def test_the_cure_of_biases_that_drown_their_inputs_sets_them_to_zero(bias: float) -> None:
    import goodinit

    torch.manual_seed(0)
    model = healthy(depth=3, width=64)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.bias, bias)
    nn.init.zeros_(model[-1].bias)
    x = torch.randn(32, 64)
    (finding,) = (each for each in check(model, x).findings if each.code == "GI108")
    goodinit.initialize(model)
    assert float(model[0].bias.mean()) == bias  # kept, as somebody's choice
    cure = finding.cure.partition(": ")[2].rpartition("; then ")
    exec(cure[0])
    exec(cure[2])
    assert all(float(module.bias.abs().max()) == 0 for module in model if isinstance(module, nn.Linear))
    assert codes(model, x) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_default_dtype_is_no_matter(dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
        report = check(model, torch.randn(16, 16), jacobian=True)
    finally:
        torch.set_default_dtype(before)
    assert report.healthy
    assert report.layers[0].dtype == str(dtype).removeprefix("torch.")
