"""Where recurrent networks start: gate by gate or packed, the forget bias, orthogonal recurrence."""

from __future__ import annotations

import math

import torch
from torch import nn

import goodinit
from goodinit.initializers import Blocks, Constant, Orthogonal, XavierUniform
from goodinit.lab.drawing import banded
from goodinit.lab.estimates import exact, fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import normal_batch
from goodinit.lab.travel import drawn
from goodinit.records import Fact, Picture, Sheet

# Hidden size, steps, seeds.
_SIZES = {"small": (16, 20, 4), "default": (64, 60, 20), "full": (128, 200, 100)}
_INPUTS = 8
_FORGET = 2.0  # what the tutorial wants


def tutorial_loop(model: nn.Module) -> None:
    """As the tutorial writes it: it looks for "forget" in names, and torch has no such name."""
    for name, parameter in model.named_parameters():
        if "forget" in name:
            parameter.data.fill_(_FORGET)


def _changed_by_loop(model: nn.Module) -> int:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    tutorial_loop(model)
    return sum(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def _forget_sum(model: nn.Module) -> float:
    """The forget gate's bias: of torch's two bias vectors the second quarters, added."""
    both = model.get_parameter("bias_ih_l0") + model.get_parameter("bias_hh_l0")
    return float(both.detach().chunk(4)[1].mean())


def _measure(size: Size) -> Found:
    hidden, steps, count = _SIZES[size]
    seeds = range(count)
    gru, lstm, rnn = (kind(_INPUTS, hidden, batch_first=True) for kind in (nn.GRU, nn.LSTM, nn.RNN))
    facts: list[Fact] = []
    # Before anything is filled: a plan takes biases that are all zero for what the author wants.
    default = goodinit.plan(lstm, "torch")
    orthogonal = {
        "RNN": goodinit.plan(rnn, "orthogonal"),
        "GRU": goodinit.plan(gru, "orthogonal"),
        "LSTM": goodinit.plan(lstm, "orthogonal"),
    }

    gated = goodinit.plan(gru, "xavier_uniform")
    packed = gated.override(
        {
            name: XavierUniform().resolve(gated[name].shape, gated[name].fan_in, 3.0 * hidden)
            for name in ("weight_ih_l0", "weight_hh_l0")
        }
    )
    rows = []
    for label, plan in {"GRU, Xavier per gate": gated, "GRU, Xavier over the packed matrix": packed}.items():
        fan_out = hidden if plan is gated else 3 * hidden
        squares = drawn(gru, plan, "weight_hh_l0", seeds).square().mean((1, 2))
        facts.append(
            fact(
                f"{label}: variance of weight_hh",
                mean(squares.tolist()),
                2 / (hidden + fan_out),
                source=f"2/({hidden} + {fan_out})",
            )
        )
        rows.append(
            (
                label,
                "weight_hh_l0",
                str(plan["weight_hh_l0"].initializer),
                str(plan["bias_hh_l0"].initializer),
            )
        )
    # The packed rule is what torch.nn.init itself does with the tensor that it is given.
    torch.manual_seed(0)
    bound = nn.init.xavier_uniform_(torch.empty(3 * hidden, hidden)).abs().max().item()
    facts.append(
        fact(
            "largest weight of torch.nn.init.xavier_uniform_ on the packed GRU matrix",
            exact(bound),
            math.sqrt(6 / (4 * hidden)),
            within=0.01,
            source="the packed bound",
        )
    )

    silent = _changed_by_loop(lstm)
    raised = orthogonal["LSTM"].override(
        {
            "bias_ih_l0": Blocks(
                ((hidden, Constant(0.0)), (hidden, Constant(_FORGET)), (2 * hidden, Constant(0.0)))
            ),
        }
    )
    zero = raised.override({"bias_ih_l0": 0.0})
    twice = raised.override({"bias_hh_l0": raised["bias_ih_l0"].initializer})
    sums = {
        "forget bias 0": _forget_sum(zero.apply_(lstm)),
        "forget bias raised": _forget_sum(raised.apply_(lstm)),
        "both raised": _forget_sum(twice.apply_(lstm)),
    }
    facts += [
        fact(
            "parameters that the tutorial's forget-gate loop changes",
            exact(silent),
            1.0,
            source="the forget bias",
        ),
        fact("sum of the two forget biases after ours", exact(sums["forget bias raised"]), _FORGET),
        fact("sum of the two where each is set to that", exact(sums["both raised"]), 2 * _FORGET),
    ]

    off = {}
    for name, model, gates in (("RNN", rnn, 1), ("GRU", gru, 3), ("LSTM", lstm, 4)):
        plan = orthogonal[name]
        plan.apply_(model, seed=0)
        weight = model.get_parameter("weight_hh_l0").detach().double()
        off[name] = max(_off_orthogonal(block) for block in weight.chunk(gates))
        facts.append(
            fact(
                f"{name}: farthest singular value of a gate's recurrent matrix from 1",
                exact(off[name]),
                (0.0, 1e-5),
            )
        )
        rows.append(
            (
                f"{name}, orthogonal per gate",
                "weight_hh_l0",
                str(plan["weight_hh_l0"].initializer),
                str(plan["bias_hh_l0"].initializer),
            )
        )
    whole = Orthogonal().fill_(torch.empty(4 * hidden, hidden), key=0).double()
    packed_off = max(_off_orthogonal(block) for block in whole.chunk(4))
    facts.append(fact("the same of an LSTM's packed matrix made orthogonal as a whole", exact(packed_off)))

    batch = normal_batch(16, steps, _INPUTS)
    back = range(steps - 1, -1, -1)
    plans = {
        "forget bias 0": zero,
        "forget bias raised": raised,
        "torch default": default,
    }
    lines, half = [], {}
    for label, plan in plans.items():
        reach = torch.tensor(
            [_memory(plan.apply_(lstm, seed=seed), batch) for seed in seeds], dtype=torch.float64
        )
        lines.append(banded(label, back, reach))
        # Amplitude per step, from the last step to half of the way back.
        middle = steps // 2
        half[label] = mean(((reach[:, middle] / reach[:, -1]) ** (0.5 / (steps - 1 - middle))).tolist())
        facts.append(fact(f"LSTM, {label}: factor per step of what the end keeps of an input", half[label]))
    return Found(
        answer=(
            f"The tutorial's loop looks for “forget” in parameter names and changes {silent} of "
            f"{len(list(lstm.parameters()))}. Setting the forget block of the packed bias gives the sum "
            f"{sums['forget bias raised']:g} of torch's two biases.",
            f"Per step back in time an LSTM then keeps the factor {said(half['forget bias raised'])} of an "
            f"input's influence, against {said(half['forget bias 0'])} with bias 0 and "
            f"{said(half['torch default'])} with torch's default.",
            f"Orthogonal per gate leaves singular values within {max(off.values()):.1g} of 1; one orthogonal "
            "matrix over all four packed gates leaves gates whose singular values are off by up to "
            f"{packed_off:.2g}.",
            f"Xavier per gate draws {said(facts[0].measured)} as variance of the GRU's recurrence, over the "
            f"packed matrix {said(facts[1].measured)}.",
        ),
        textbook="Wrong as printed: torch's LSTM has no parameter named after its forget gate, so nothing is "
        f"set and nothing is said. And its two biases add up: setting each to {_FORGET:g} makes "
        f"{sums['both raised']:g}.",
        settings={
            "models": f"RNN, GRU, LSTM of {hidden} units, {_INPUTS} inputs",
            "seeds": f"0 to {count - 1}",
            "sequences": f"16 of {steps} standard normal steps",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "memory",
                "How much the last output still depends on each step",
                "A raised forget bias reaches farther.",
                "steps before the end",
                "second moment of the gradient",
                log_y=True,
                lines=tuple(lines),
            ),
        ),
        sheets=(Sheet("What fills the recurrence", ("start", "parameter", "law", "bias"), tuple(rows)),),
    )


def _off_orthogonal(block: torch.Tensor) -> float:
    return float((torch.linalg.svdvals(block) - 1).abs().max())


def _memory(model: nn.Module, batch: torch.Tensor) -> list[float]:
    """Second moment of the gradient of the last output to each input step."""
    x = batch.clone().requires_grad_()
    out = model(x)[0][:, -1]
    direction = normal_batch(*out.shape, seed=1)
    (gradient,) = torch.autograd.grad((out * direction).sum(), x)
    return [float(value) for value in gradient.square().mean((0, 2))]


EXPERIMENT = Experiment(
    "recurrent-start",
    "Where recurrent networks start",
    "GRU: Xavier weights and zero biases; LSTM: a raised forget-gate bias; RNN: an orthogonal recurrence. "
    "torch packs the gates of a layer into one matrix. Is Xavier meant per gate or over the packed matrix, "
    "does the tutorial's code for the forget gate do anything, and what does the forget bias do to memory?",
    _measure,
    ("S3.1", "S3.2", "S3.3"),
)
