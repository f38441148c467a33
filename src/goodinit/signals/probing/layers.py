"""From the vectors of all batches to the records of layers and attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from goodinit.records import AttentionSignal, Histogram, LayerSignal
from goodinit.signals.probing.attention import attention_signal
from goodinit.signals.probing.measuring import Vectors, fetch, merge
from goodinit.signals.probing.moments import COUNT, as_moments
from goodinit.signals.probing.recorder import Attention, Call, Recorder
from goodinit.signals.probing.sampling import histogram, sampled_small

__all__ = ["Tallies"]


@dataclass
class Tallies:
    """All calls of layers and of attention over the batches so far, in order of first execution."""

    calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    attentions: dict[tuple[str, int], Attention] = field(default_factory=dict)

    def absorb(self, recorder: Recorder) -> None:
        """Add one batch, once its backward pass is over."""
        fetch(
            [
                *(vectors for call in recorder.calls for vectors in (call.forward, call.backward)),
                *(each.vectors for each in recorder.attentions),
            ]
        )
        for call in recorder.calls:
            known = self.calls.setdefault((call.name, call.number), call)
            if known is not call:
                merge(known.forward, call.forward)
                merge(known.backward, call.backward)
        for each in recorder.attentions:
            seen = self.attentions.setdefault((each.name, each.number), each)
            if seen is not each:
                merge(seen.vectors, each.vectors)

    def layers(self) -> tuple[LayerSignal, ...]:
        """Return the records of layers."""
        return tuple(_layer(index, call) for index, call in enumerate(self.calls.values()))

    def attention(self) -> tuple[AttentionSignal, ...]:
        """Return the records of attention."""
        found = (
            attention_signal(each.name, each.number, each.vectors["attention"])
            for each in self.attentions.values()
        )
        return tuple(signal for signal in found if signal is not None)


def _layer(index: int, call: Call) -> LayerSignal:
    seen, back = call.forward, call.backward
    output = as_moments(seen["sums"])
    gradient = as_moments(back["sums"]) if back else None
    # Where a value is not finite its square sums mean nothing.
    whole = {} if output.nonfinite else seen
    returned = {} if gradient is None or gradient.nonfinite else back
    rank, rows = _rank(whole)
    dead = always_on = None
    if "on" in seen:
        live, each = seen["on"][0], seen["on"][1:]
        dead, always_on = int((each == 0).sum()), int((each == live).sum()) if live else 0
    return LayerSignal(
        index=index,
        name=call.name,
        kind=call.kind,
        call=call.number,
        shape=call.shape,
        output=output,
        gradient=gradient,
        zeros=_zeros(seen),
        units=call.units,
        dead=dead,
        saturated=_ratio(whole, "saturated"),
        always_on=always_on,
        varying=_ratio(whole, "varying"),
        parametric=call.parametric,
        finite_input=not seen["bad_input"] if output.nonfinite else None,
        dtype=call.dtype,
        correlation=_ratio(whole, "correlation"),
        rank=rank,
        rows=rows,
        underflow=sampled_small(back["sample"], getattr(torch, call.dtype)) if back else None,
        unit_moments=_means(whole, "units"),
        unit_gradients=_means(returned, "units"),
        steps=_means(whole, "steps"),
        step_gradients=_means(returned, "steps"),
        memory=_means(whole, "memory"),
        histogram=_histogram(seen),
        gradient_histogram=_histogram(back),
    )


def _zeros(vectors: Vectors) -> float:
    """Return the share of exact zeros: of all elements where units were counted, else of the sample."""
    if "on" in vectors:
        return 1.0 - float(vectors["on"][1:].sum() / vectors["sums"][COUNT].clamp(min=1))
    return float((vectors["sample"] == 0).double().mean())


def _ratio(vectors: Vectors, key: str) -> float | None:
    """Return a total over how often it was counted; None where it never was."""
    if key not in vectors:
        return None
    total, count = vectors[key].tolist()
    return total / count if count else None


def _means(vectors: Vectors, key: str) -> tuple[float, ...]:
    """Return totals over the count that leads them."""
    if key not in vectors:
        return ()
    return tuple((vectors[key][1:] / vectors[key][0]).tolist())


def _rank(vectors: Vectors) -> tuple[float | None, int | None]:
    if "rank" not in vectors:
        return None, None
    rank, rows, number = vectors["rank"].tolist()
    return (rank / number, round(rows / number)) if number else (None, None)


def _histogram(vectors: Vectors) -> Histogram | None:
    samples: Sequence[torch.Tensor] = [vectors["sample"]] if "sample" in vectors else []
    return histogram(samples) if samples else None
