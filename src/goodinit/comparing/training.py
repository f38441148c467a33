"""Everything that decides what becomes of a member, in one value that travels to other processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from goodinit.comparing.fingerprint import fingerprint
from goodinit.comparing.inputs import Batch
from goodinit.comparing.members import Member, built
from goodinit.comparing.objectives import Objective
from goodinit.comparing.optimizers import Optimizer
from goodinit.plans import Plan

__all__ = ["CHUNK", "Training", "chunks", "header"]

#: Members that train together; one number for all machines, so that a journal fits anywhere. 64 fill
#: four AVX-512 registers and leave several chunks to the processes of an executor.
CHUNK = 64


@dataclass(frozen=True)
class Training:
    """What all members share.

    Attributes:
        build: returns a new model.
        plans: by label.
        train: inputs and targets; `test` likewise.
        optimizer: what a step does.
        factors: of the learning rate, one for each step.
        batch_size: examples in a step.
        loss: what is minimized.
        metric: what is compared.
        evaluations: the steps after which members are evaluated; 0 is the start.
        engine: ``"compiled"``, ``"stacked"`` or ``"sequential"``.
        key: differs between runs, so that a process that gets several chunks of one prepares once.
    """

    build: Callable[[], nn.Module]
    plans: dict[str, Plan]
    train: Batch
    test: Batch
    optimizer: Optimizer
    factors: tuple[float, ...]
    batch_size: int
    loss: Objective
    metric: Objective
    evaluations: tuple[int, ...]
    engine: str
    key: str = ""

    @property
    def steps(self) -> int:
        """How many steps every member does."""
        return len(self.factors)


def chunks(members: Sequence[Member], engine: str) -> tuple[tuple[Member, ...], ...]:
    """Cut members into what trains together, by rules that do not know the machine."""
    size = 1 if engine == "sequential" else CHUNK
    return tuple(tuple(members[start : start + size]) for start in range(0, len(members), size))


def header(training: Training, members: Sequence[Member], words: Mapping[str, str]) -> dict[str, str]:
    """Return every setting that a result depends on, in words or as a digest, by name.

    Args:
        training: what members share.
        members: all of them, in order.
        words: settings that are already in words.
    """
    from goodinit import __version__

    model = built(training.build, members[0].seed)
    forwards = list(dict.fromkeys(type(module).forward for module in model.modules()))
    return {
        "goodinit": __version__,
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "engine": training.engine,
        "model": fingerprint(repr(model), forwards, sorted(model.state_dict().items())),
        "data": fingerprint(*training.train, *training.test),
        **{f"plans[{label!r}]": fingerprint(plan.to_json()) for label, plan in training.plans.items()},
        **words,
        **({"without decay": ", ".join(spared)} if (spared := training.optimizer.spared) else {}),
        "factors": fingerprint(repr(training.factors)),
        "loss function": fingerprint(training.loss.function),
        "metric": f"{training.metric.name} {fingerprint(training.metric.function)}",
        "evaluations": repr(training.evaluations),
        "members": fingerprint(repr([(member.plan, member.lr, member.seed) for member in members])),
    }
