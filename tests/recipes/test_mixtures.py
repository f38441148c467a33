"""Gates and routers on residual branches: the branches add their share, measured."""

import pytest
import torch
from torch import nn

import goodinit

# Routers and experts are drawn, so what is added scatters by a few percent from seed to seed.
SEEDS = 3


class Expert(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Experts(nn.Module):
    def __init__(self, width, count, top):
        super().__init__()
        self.router = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(Expert(width) for _ in range(count))
        self.count, self.top = count, top


def renormalized(router, x, top):
    shares, chosen = nn.functional.softmax(router(x), -1).topk(top, -1)
    return shares / shares.sum(-1, keepdim=True), chosen


class Picked(Experts):
    """Each expert runs on the rows that chose it, as in Mixtral; this code asks for values."""

    def shares(self, x):
        return renormalized(self.router, x, self.top)

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        shares, chosen = self.shares(rows)
        out = torch.zeros_like(rows)
        for at, expert in enumerate(self.experts):
            row, place = torch.where(chosen == at)
            out.index_add_(0, row, expert(rows[row]) * shares[row, place, None])
        return out.view(x.shape)


class PickedAsTheyAre(Picked):
    def shares(self, x):
        return nn.functional.softmax(self.router(x), -1).topk(self.top, -1)


class PickedBySigmoid(Picked):
    """As DeepSeek: sigmoids, renormalized, times a constant."""

    def shares(self, x):
        scores = self.router(x).sigmoid()
        chosen = scores.topk(self.top, -1)[1]
        shares = scores.gather(1, chosen)
        return shares / shares.sum(-1, keepdim=True) * 2.5, chosen


class Added(Experts):
    """Every expert runs on every row; the largest logits share the weight."""

    def forward(self, x):
        logits, chosen = self.router(x).topk(self.top, -1)
        shares = nn.functional.softmax(logits, -1)
        return sum(
            (shares * (chosen == at)).sum(-1, keepdim=True) * expert(x)
            for at, expert in enumerate(self.experts)
        )


class Stacked(Experts):
    def forward(self, x):
        shares = nn.functional.softmax(self.router(x), -1)
        return (shares[..., None] * torch.stack([expert(x) for expert in self.experts], -2)).sum(-2)


class Scaled(Stacked):
    def forward(self, x):
        return 3.0 * super().forward(x)


class Multiplied(Experts):
    def forward(self, x):
        shares = nn.functional.softmax(self.router(x), -1)
        return (shares.unsqueeze(-2) @ torch.stack([expert(x) for expert in self.experts], -2)).squeeze(-2)


class Parameters(nn.Module):
    """Experts as two stacked parameters in einsum."""

    def __init__(self, width, count, top):
        super().__init__()
        self.router, self.top = nn.Linear(width, count, bias=False), top
        self.up = nn.Parameter(torch.randn(count, width, 2 * width))
        self.down = nn.Parameter(torch.randn(count, 2 * width, width))

    def forward(self, x):
        shares, chosen = renormalized(self.router, x, self.top)
        shares = x.new_zeros(*x.shape[:-1], len(self.up)).scatter(-1, chosen, shares)
        each = nn.functional.silu(torch.einsum("...d,edf->...ef", x, self.up))
        return torch.einsum("...e,...ed->...d", shares, torch.einsum("...ef,efd->...ed", each, self.down))


class Gathered(Parameters):
    def forward(self, x):
        shares, chosen = renormalized(self.router, x, self.top)
        each = nn.functional.silu(torch.einsum("bd,bkdf->bkf", x, self.up[chosen]))
        return (torch.einsum("bkf,bkfd->bkd", each, self.down[chosen]) * shares[..., None]).sum(-2)


class Shared(nn.Module):
    """One expert for all rows beside the routed ones, behind a sigmoid as in Qwen2-MoE."""

    def __init__(self, width, count, top):
        super().__init__()
        self.routed, self.shared = Added(width, count, top), Expert(width)
        self.gate = nn.Linear(width, 1)

    def forward(self, x):
        return self.routed(x) + self.gate(x).sigmoid() * self.shared(x)


class Gate(nn.Module):
    """No experts: a plain gate at the end of a branch."""

    def __init__(self, width, count, top):
        super().__init__()
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return self.gate(x).sigmoid() * self.value(x)


class Stream(nn.Module):
    def __init__(self, branch, blocks, width, count, top):
        super().__init__()
        self.first, self.last = nn.Linear(16, width), nn.Linear(width, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.branches = nn.ModuleList(branch(width, count, top) for _ in range(blocks))

    def forward(self, x):
        self.seen = [self.first(x)]
        for norm, branch in zip(self.norms, self.branches, strict=True):
            self.seen.append(self.seen[-1] + branch(norm(self.seen[-1])))
        return self.last(self.seen[-1])


def added(model, plan):
    total = 0.0
    for seed in range(SEEDS):
        plan.apply_(model, seed=seed)
        with torch.no_grad():
            model(torch.randn(128, 16, generator=torch.Generator().manual_seed(seed)))
        steps = zip(model.seen, model.seen[1:], strict=False)
        total += sum(float((after - before).square().mean()) for before, after in steps)
    return total / SEEDS


BRANCHES = [
    Picked,
    PickedAsTheyAre,
    PickedBySigmoid,
    Added,
    Stacked,
    Scaled,
    Multiplied,
    Parameters,
    Gathered,
    Shared,
    Gate,
]


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize(("blocks", "width", "count", "top"), [(3, 64, 8, 2), (2, 48, 14, 4)])
def test_a_mixture_of_experts_adds_its_share(branch, blocks, width, count, top):
    torch.manual_seed(0)  # parameters of its own keep nothing of this, but must not be memory
    model = Stream(branch, blocks, width, count, top)
    plan = goodinit.plan(model, example=torch.randn(8, 16))
    assert added(model, plan) == pytest.approx(1.0, rel=0.15)


def test_without_the_shares_a_mixture_adds_too_little():
    # What the check above catches: experts that put out the branch's share themselves.
    model = Stream(Added, 3, 64, 8, 2)
    plan = goodinit.plan(model, example=torch.zeros(8, 16))
    plain = goodinit.initializers.Normal(0.0, plan["branches.0.experts.0.2.weight"].std * 0.556**0.5)
    assert added(model, plan.override({r"re:.*experts\.\d+\.2\.weight": plain})) < 0.7


def test_the_reason_names_what_the_shares_leave():
    # Two of eight, renormalized: E[p² + (1 − p)²] of a softmax of two order statistics is 0.556.
    plan = goodinit.plan(Stream(Added, 3, 64, 8, 2), example=torch.zeros(8, 16))
    assert "of which gates and sums leave 0.55" in plan["branches.0.experts.0.2.weight"].why
