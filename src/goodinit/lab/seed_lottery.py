"""The seed alone: how far apart results of one init lie, and how many seeds tell two inits apart."""

from __future__ import annotations

import statistics

import torch
from torch import nn

from goodinit.comparing.datasets import load
from goodinit.comparing.statistics.paired import sign_test
from goodinit.comparing.statistics.sample_size import seeds_needed, sign_power
from goodinit.initializers import Initializer, KaimingNormal
from goodinit.lab.drawing import curve, violin
from goodinit.lab.estimates import fact, median, said, share
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.training import DEFAULT, S4_SETTINGS, S4_STEPS, at_pass, members, train_s4, tried, wins
from goodinit.records import Interval, Picture

# Seeds, and after which passes to look: early, where the inits differ, and late.
_SIZES = {"small": (24, (10, 60)), "default": (256, (10, 190)), "full": (1024, (10, 190))}
_HE = "He normal"
_LAWS: dict[str, Initializer] = {_HE: KaimingNormal("relu")}
_HIDDEN, _RATE, _SHOWN = 3, 0.003, 8
_TRIALS = 2000
_COUNTS = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def power(first: list[float], second: list[float], counts: tuple[int, ...]) -> list[float]:
    """Return the share of random subsets of so many seeds in which a sign test at 5 % finds the better "
    "one.
    """
    draw = torch.Generator().manual_seed(0)
    gains = torch.tensor(second, dtype=torch.float64) - torch.tensor(first, dtype=torch.float64)
    found = []
    for count in counts:
        chosen = gains[torch.randint(len(gains), (_TRIALS, count), generator=draw)]
        won, lost = (chosen > 0).sum(1), (chosen < 0).sum(1)
        better = torch.from_numpy(sign_test(won.numpy(), lost.numpy())) < 0.05
        found.append((better & (won > lost)).double().mean().item())
    return found


def spread(losses: list[float]) -> Interval:
    """Return the ninth decile over the first, with the percentile interval of the bootstrap."""
    draw = torch.Generator().manual_seed(0)
    values = torch.tensor(losses, dtype=torch.float64)
    drawn = torch.cat(
        [values[None], values[torch.randint(len(values), (_TRIALS, len(values)), generator=draw)]]
    )
    first, ninth = torch.quantile(drawn, torch.tensor([0.1, 0.9], dtype=torch.float64), dim=1)
    ratio = ninth / first
    low, high = torch.quantile(ratio[1:], torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(ratio[0].item(), low, high)


def _needed(won: Interval) -> str:
    """Return how many seeds a share of wins needs, in words, with what its interval allows."""
    few, some, many = (seeds_needed(max(each, 1 - each)) for each in (won.high, won.value, max(won.low, 0.5)))
    far = "more than 10,000" if many is None else f"{many:,}"
    return f"{'more than 10,000' if some is None else f'{some:,}'} seeds ({few} to {far})"


def _measure(size: Size) -> Found:
    count, (early, late) = _SIZES[size]
    marks = sorted({1, 2, 5, early, *(round(late * part / 8) for part in range(2, 9))})
    made = train_s4(_HIDDEN, nn.ReLU, _LAWS, seeds=range(count), passes=marks, lr=_RATE)
    final = {plan: at_pass(made, plan, _RATE, late) for plan in made.plans}
    soon = {plan: at_pass(made, plan, _RATE, early) for plan in made.plans}
    first, *_, ninth = statistics.quantiles(final[DEFAULT], n=10, method="inclusive")
    luck = spread(final[DEFAULT])
    typical = {plan: median(values) for plan, values in final.items()}
    between = typical[DEFAULT].value / typical[_HE].value
    won = {early: wins(soon[_HE], soon[DEFAULT]), late: wins(final[_HE], final[DEFAULT])}
    # Two runs with seeds of their own, as papers compare them: the one init with this seed, the other with
    # the next.
    lucky = [
        one > other for one, other in zip(final[_HE], [*final[DEFAULT][1:], final[DEFAULT][0]], strict=True)
    ]
    fooled = share(sum(lucky), count)
    runs = members(made, DEFAULT, _RATE)[:_SHOWN]
    passes = [step / S4_STEPS for step in made.steps]
    return Found(
        answer=(
            f"One network, one init, one rate, {count} seeds: the middle 80 % of the test losses after "
            f"{late} "
            f"passes reach from {first:.3g} to {ninth:.3g}, a factor of "
            f"{said(luck)}; "
            f"the two inits' medians differ by a factor of {between:.3g}.",
            f"Who compares one run of each init finds the default better with probability {said(fooled, 2)}.",
            f"He's init wins {said(won[early], 2)} of the seeds after {early} passes: a paired sign test "
            f"needs "
            f"{_needed(won[early])} to find that with 80 % power.",
            f"After {late} passes it wins {said(won[late], 2)}: {_needed(won[late])} would do.",
        ),
        textbook="The tutorials compare one curve with one curve, at seeds that they chose. The spread "
        "between "
        f"seeds ({luck.value:.3g}×) is {'larger' if luck.value > between else 'not larger'} than the "
        f"effect between "
        f"inits ({between:.3g}×): one curve of each "
        f"{'says next to nothing' if fooled.value > 0.2 else 'is mostly right here'}.",
        settings={
            **S4_SETTINGS,
            "activation": f"ReLU, {_HIDDEN} hidden layers",
            "data": load("s4").about,
            "seeds": f"0 to {count - 1}; the data stay the same",
            "passes": str(late),
            "learning rate": str(_RATE),
            "power": f"{_TRIALS} samples of the seeds measured, drawn with repetition",
        },
        facts=(
            *(fact(f"{plan}: median test loss after {late} passes", each) for plan, each in typical.items()),
            fact(f"{DEFAULT}: ninth decile of the test loss over the first", luck),
            fact("share of single runs in which the default beats He's init", fooled),
            *(
                fact(f"share of paired seeds on which He's init wins after {at} passes", each)
                for at, each in won.items()
            ),
        ),
        pictures=(
            Picture(
                "distribution",
                f"log₁₀ of the test loss after {late} passes",
                "Each seed is one network; everything else is the same.",
                "init",
                "log₁₀ mean squared error",
                violins=tuple(
                    violin(plan, torch.tensor(values).log10(), plan) for plan, values in final.items()
                ),
            ),
            Picture(
                "curves",
                f"{len(runs)} seeds of the same network and init",
                "Which of them would have been shown?",
                "passes",
                "mean squared error",
                log_y=True,
                lines=(
                    *(curve(f"seed {run.seed}", passes, run.test) for run in runs),
                    tried("median, 80 % of all", made.summaries[0].test, S4_STEPS),
                ),
            ),
            Picture(
                "power",
                "Probability that a paired sign test finds the better init",
                "Dashed: of a sign test with the share of wins measured.",
                "seeds",
                "probability",
                log_x=True,
                lines=tuple(
                    line
                    for at, values in ((early, soon), (late, final))
                    for line in (
                        curve(f"after {at} passes", _COUNTS, power(values[_HE], values[DEFAULT], _COUNTS)),
                        curve(
                            f"after {at} passes: theory",
                            _COUNTS,
                            sign_power(_COUNTS, won[at].value).tolist(),
                            theory=True,
                        ),
                    )
                ),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "seed-lottery",
    "The seed lottery",
    "How much of a result is the random seed alone? One network is trained with many seeds, everything else "
    "the same, and the spread is compared with the difference between two inits: how many seeds does it "
    "take to tell them apart?",
    _measure,
    ("S4.4",),
)
