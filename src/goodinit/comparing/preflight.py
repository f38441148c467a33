"""What is refused before training starts, and which engine is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from goodinit.comparing.chunk import advancing
from goodinit.comparing.engines.step import NotStackable, reason
from goodinit.comparing.evaluation import evaluate
from goodinit.comparing.inputs import Inputs, called, rows, shapes
from goodinit.comparing.members import Member, State, built, first_state, layout_of, planned
from goodinit.comparing.preparing import prepared
from goodinit.comparing.streams import borrowed, others, step_key
from goodinit.comparing.training import Training
from goodinit.errors import ArgumentError, ExampleError, GoodinitError, ModelSourceError

__all__ = ["ENGINES", "check_members", "check_model", "choose_engine"]

ENGINES = ("auto", "compiled", "stacked", "sequential")

#: Steps from which compiling, a few seconds, pays: stacked steps of small models take milliseconds.
WORTH_COMPILING = 500

#: Multiplications of convolutions in a batch beyond which stacking them, as one grouped convolution, is
#: slower than one after another: `benchmarks/stacked_or_not.py` finds it 2 to 3 times as fast at 1 million,
#: no faster at 13 million, half as fast at 180 million.
LIGHT = 4_000_000

#: Largest difference of one step from plain PyTorch's, relative to the tensor's norm. Rounding of float32
#: stays below 1e-5 on the models of the tests; a wrong gradient shows as more than 1e-2.
AGREEMENT = 1e-3


def check_model(model: nn.Module, another: nn.Module, inputs: Inputs) -> None:
    """Raise unless a model maps inputs to one tensor and is another one than built before; it is changed.

    Raises:
        ModelSourceError: if the two have a parameter in common.
        ExampleError: if it rejects the inputs.
    """
    known = {id(parameter) for parameter in another.parameters()}
    shared = next((name for name, value in model.named_parameters() if id(value) in known), None)
    if shared is not None:
        raise ModelSourceError(
            f"build() must return a new model at each call, found one with the {shared} of the last one: "
            "make the model inside build(), or copy.deepcopy it"
        )
    with borrowed(), torch.no_grad():
        _output(model, inputs)


def check_members(training: Training, members: Sequence[Member]) -> None:
    """Raise unless plans fit the model and the model, the loss and the metric fit the data.

    Raises:
        PlanMismatchError: if a plan is for another model; the message names the plan.
        ExampleError: if the model rejects the data.
        ArgumentError: if the loss or the metric rejects the model's output, or is no number.
    """
    seed = members[0].seed
    x, y = rows(training.train, slice(training.batch_size))
    numbers = []
    with borrowed():
        for label, plan in training.plans.items():
            try:
                model = planned(training.build, plan, seed)
            except GoodinitError as error:
                raise type(error)(f"plan {label!r}: {error}") from error
            if not layout_of(model, training.optimizer).trained:
                raise ArgumentError(
                    "the model that build() returns has no trainable parameter: nothing can be compared"
                )
            output = _output(model, x)
            numbers.append(_loss(training, output, y) or not bool(output.isfinite().all()))
        if not any(numbers):
            raise ArgumentError(
                f"loss {training.loss.name!r} is not a number at the start of any plan, though the model's "
                "output is finite"
            )
        model.eval()
        with torch.no_grad():
            held_out, targets = rows(training.test, slice(None))
            value = _called("metric", training.metric, called(model, held_out), targets)
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        raise ArgumentError(
            f"metric {training.metric.name!r} must return one number, found shape {tuple(value.shape)}"
        )
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metric {training.metric.name!r} must return one number, found {type(value).__name__}"
        ) from error


def _output(model: nn.Module, x: Inputs) -> torch.Tensor:
    try:
        output = called(model, x)
    except Exception as error:
        raise ExampleError(
            f"the model rejects the data: {_words(x)} raises {type(error).__name__}: {error}"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise ExampleError(
            f"the model must return one tensor, found {type(output).__name__}: let build() wrap it in a "
            "module that picks one"
        )
    return output


def _words(x: Inputs) -> str:
    """Return how a model was called."""
    if isinstance(x, tuple | dict):
        stars = "**" if isinstance(x, dict) else "*"
        return f"called as model({stars}inputs), a batch of shapes {shapes(x)}"
    return (
        f"a batch of shape {tuple(x.shape)} and {x.dtype}, its only argument (several are a tuple or a dict "
        "of inputs),"
    )


def _loss(training: Training, output: torch.Tensor, y: torch.Tensor) -> bool:
    """Say whether the loss is a number; raise unless it is one tensor that can be differentiated."""
    value = _called("loss", training.loss, output, y)
    name = training.loss.name
    if not isinstance(value, torch.Tensor):
        raise ArgumentError(f"loss {name!r} must return a tensor, found {type(value).__name__}")
    if value.numel() != 1:
        raise ArgumentError(
            f"loss {name!r} must return one number, found shape {tuple(value.shape)}: take its mean"
        )
    if not value.is_floating_point() or not value.requires_grad:
        raise ArgumentError(
            f"loss {name!r} must be differentiable with respect to the model's output, found a "
            f"{value.dtype} tensor that requires no gradient"
        )
    try:
        value.reshape(()).backward()
    except Exception as error:
        raise ArgumentError(
            f"the gradient of loss {name!r} cannot be computed: {type(error).__name__}: {error}"
        ) from error
    return not bool(value.isnan().any())


def _called(what: str, function: object, output: torch.Tensor, target: torch.Tensor) -> object:
    try:
        return function(output, target)  # type: ignore[operator]
    except GoodinitError as error:
        raise type(error)(f"{what}: {error}") from error
    except Exception as error:
        raise ArgumentError(
            f"{what} rejects an output of shape {tuple(output.shape)} and {output.dtype} with targets "
            f"of shape {tuple(target.shape)} and {target.dtype}: {type(error).__name__}: {error}"
        ) from error


def choose_engine(
    training: Training, members: Sequence[Member], asked: str
) -> tuple[Training, tuple[str, ...]]:
    """Return the training with the engine that takes it, and what to tell of the choice.

    An engine is taken only if one step of it is one step of plain PyTorch, up to rounding.

    Raises:
        ArgumentError: if the engine that was asked for cannot take this training.
    """
    if asked == "sequential":
        return training, ("members were trained one after another, as asked",)
    notes: list[str] = []
    for engine in _candidates(training, members, notes) if asked == "auto" else (asked,):
        trial = replace(training, engine=engine)
        try:
            _agree(trial, members)
        except NotStackable as reason:
            if asked != "auto":
                raise ArgumentError(f"engine={asked!r} cannot train this model: {reason}") from reason
            notes.append(f"not {engine}: {reason}")
            continue
        return trial, (f"engine: {engine}", *notes)
    return replace(training, engine="sequential"), (
        "engine: sequential; members were trained one after another, with the same results",
        *notes,
    )


def _candidates(training: Training, members: Sequence[Member], notes: list[str]) -> tuple[str, ...]:
    """Return the engines to try, the fastest for so many steps first, and note what is not tried.

    The rules do not know the machine, so that results do not depend on it.
    """
    engines = ("compiled", "stacked") if training.steps >= WORTH_COMPILING else ("stacked",)
    model = built(training.build, members[0].seed)
    recurrent = {type(module).__name__ for module in model.modules() if isinstance(module, nn.RNNBase)}
    heavy = _convolving(model, rows(training.train[0], slice(training.batch_size))) // 2
    if recurrent:
        why = (
            f"taken apart into its time steps, {', '.join(sorted(recurrent))} takes longer to prepare than "
            "most runs save"
        )
    elif heavy > LIGHT:
        why = (
            f"convolutions of {heavy / 1e6:.1f} million multiplications a batch are faster one after another"
        )
    else:
        return engines
    notes.append(f"not stacked: {why} (engine='stacked' insists)")
    return tuple(engine for engine in engines if engine != "stacked")


def _convolving(model: nn.Module, x: Inputs) -> int:
    """Return the floating-point operations of the convolutions in a forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with borrowed(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        called(model, x)
    return sum(
        count for kind, count in counter.get_flop_counts().get("Global", {}).items() if "conv" in str(kind)
    )


def _agree(training: Training, members: Sequence[Member]) -> None:
    """Raise `NotStackable` unless a step and an evaluation of two members agree with plain PyTorch's."""
    pair = (members[0], members[-1])
    model = built(training.build, pair[0].seed)
    layout = layout_of(model, training.optimizer)
    state = first_state(training.build, training.plans, pair, layout)
    plain = replace(training, engine="sequential")
    if _draws_elsewhere(model, training):
        raise NotStackable("it draws random numbers that are not torch's")
    expected, found = (
        advancing(each, pair, model)([tensor.clone() for tensor in state], 0, 1) for each in (plain, training)
    )
    names = [
        *layout.trained,
        *layout.kept,
        *(f"{slot} of {name}" for slot in layout.slots for name in layout.trained),
    ]
    # Adam's first step is the gradient's sign, which rounding decides where the gradient is tiny.
    skipped = len(layout.trained) if training.optimizer.name != "sgd" else 0
    name = _disagreement(names[skipped:], found[skipped:], expected[skipped:], state[skipped:])
    if name is not None:
        raise NotStackable(f"a step of it disagrees with plain PyTorch in {name}")
    measure = partial(
        evaluate, model, layout, state, training.loss, training.metric, training.train, training.test
    )
    known, keys = prepared(training).forwards, [step_key(member.seed, 0) for member in pair]
    try:
        one, other = (measure(keys=keys, together=each, known=known) for each in (True, False))
    except NotStackable:
        raise
    except Exception as error:
        raise NotStackable(reason(error, "evaluate all members")) from error
    if not all(
        torch.allclose(getattr(one, field), getattr(other, field), AGREEMENT, equal_nan=True)
        for field in ("train", "test", "metric")
    ):
        raise NotStackable("its evaluation disagrees with plain PyTorch's")


def _draws_elsewhere(model: nn.Module, training: Training) -> bool:
    """Say whether a forward pass draws from Python's or NumPy's stream, which a trace would not show.

    Other threads of the process draw from these too, now and then; the model draws each time.
    """
    drawn = []
    with borrowed(), torch.no_grad():
        for _ in range(3):
            before = others()
            x, y = rows(training.train, slice(training.batch_size))
            training.loss(called(model, x), y)
            drawn.append(others() != before)
    return all(drawn)


def _disagreement(names: Sequence[str], found: State, expected: State, before: State) -> str | None:
    """Return the name of a tensor whose change differs by more than rounding.

    Changes are compared, since the values themselves hardly differ after one step. A gradient that is
    zero but for rounding (of a bias before batch norm) is measured against the largest change.
    """
    floats = [index for index, tensor in enumerate(expected) if tensor.is_floating_point()]
    for index, name in enumerate(names):
        if index not in floats and not bool((found[index] == expected[index]).all()):
            return name
    for member in range(len(expected[0])):
        changes = {at: (expected[at][member].double() - before[at][member].double()).norm() for at in floats}
        largest = max(
            (change for change in changes.values() if bool(change.isfinite())), default=torch.zeros(())
        )
        for at in floats:
            if not bool(changes[at].isfinite()):
                continue
            apart = (found[at][member].double() - expected[at][member].double()).norm()
            size = before[at][member].double().norm()
            if not bool(apart <= AGREEMENT * changes[at] + 1e-5 * largest + 1e-6 * size):
                return names[at]
    return None
