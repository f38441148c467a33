"""What happened between measured steps: layers that died, a balance that moved, a start forgotten."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from goodinit.records import LayerStep, MonitorEvent, MonitorStep
from goodinit.signals.monitoring.balance import balance, drift, profile

__all__ = ["DRIFTED", "FORGOTTEN", "HALF_DEAD", "Watch"]

# The balance moves by a factor of two or three from batch to batch; each further power of ten is an event.
DRIFTED = 10.0
# Under a tenth of a weight's squared norm lies along its initial value: cos < 0.32.
FORGOTTEN = 0.1
# Half the units of a layer; a ReLU layer starts with almost none dead over a whole batch.
HALF_DEAD = 0.5
# With fewer units one batch without a positive input is likely.
_FEW = 8


@dataclass
class Watch:
    """Remembers what was so far, and says what is new in a step."""

    start: dict[str, float] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    dead: dict[str, int] = field(default_factory=dict)
    suspects: dict[str, int] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    thinned: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    gone: bool = False
    level: int = 0
    broken: bool = False

    def balanced(self, layers: tuple[LayerStep, ...]) -> tuple[float | None, float | None]:
        """Return (balance, drift since the start) of a step.

        The start is the first measured step in which half of the weight layers have a
        gradient: behind a last layer that starts at zero none has.
        """
        sizes = profile(layers)
        weights = {layer.name for layer in layers if layer.weight}
        if not self.start and 2 * len(sizes) >= max(len(weights), 4 if len(weights) > 2 else 2):
            self.start = sizes
        return balance(sizes), drift(self.start, sizes)

    def events(self, step: MonitorStep) -> tuple[MonitorEvent, ...]:
        """Return what is new in this step."""
        found = [*self._non_finite(step)]
        if not self.broken:
            found += [*self._deaths(step), *self._thinning(step), *self._drift(step), *self._forgetting(step)]
        return tuple(found)

    def _non_finite(self, step: MonitorStep) -> Iterable[MonitorEvent]:
        where = [layer.name for layer in step.layers if not _finite(layer.output, layer.gradient)]
        where += [p.name for p in step.parameters if not _finite(p.value, p.gradient, p.update)]
        broken = bool(where) or not _finite(step.loss)
        if broken and not self.broken:
            first = f"; the first place is '{where[0]}'" if where else ""
            yield _event(step, "non_finite", where, step.loss, f"NaN or infinity in training{first}")
        if self.broken and not broken:
            yield _event(step, "finite_again", (), step.loss, "everything is finite again")
        self.broken = broken

    def _deaths(self, step: MonitorStep) -> Iterable[MonitorEvent]:
        # A model in which no gradient moves at all says nothing about single layers.
        if not any(layer.gradient for layer in step.layers):
            return
        learning = {layer.name for layer in step.layers if not _dead(layer)}
        names = dict.fromkeys(layer.name for layer in step.layers)
        idle = [name for name in names if name not in learning]
        confirmed = [name for name in idle if name in self.suspects and name not in self.dead]
        died = [name for name in confirmed if name in self.alive]
        if died:
            began = min(self.suspects[name] for name in died)
            text = f"{_listed(died)} died at step {began}: {_stopped(died)}"
            yield _event(step, "layer_died", died, None, text)
        never = [name for name in confirmed if name not in self.alive and name not in self.silent]
        if never:
            text = f"{_listed(never)} did not learn in any measured step so far: {_stopped(never)}"
            yield _event(step, "never_learned", never, None, text)
        back = [name for name in names if name in learning and (name in self.dead or name in self.silent)]
        if back:
            text = f"{_listed(back)}: a gradient arrives again at step {step.step}"
            yield _event(step, "layer_revived", back, None, text)
        self.dead |= {name: self.suspects[name] for name in died}
        self.silent |= {name: self.suspects[name] for name in never}
        self.alive = (self.alive | learning) - set(died)
        for name in learning:
            self.dead.pop(name, None)
            self.silent.pop(name, None)
            self.suspects.pop(name, None)
        for name in idle:
            self.suspects.setdefault(name, step.step)

    def unconfirmed(self) -> bool:
        """Is there a layer that was idle in the last step and learned before? One more step decides."""
        return any(name in self.alive for name in self.suspects)

    def _thinning(self, step: MonitorStep) -> Iterable[MonitorEvent]:
        shares = {
            layer.name: layer.dead / layer.units
            for layer in step.layers
            if layer.dead is not None and layer.units >= _FEW and not _dead(layer) and layer.gradient
        }
        new = [name for name, share in shares.items() if share >= HALF_DEAD and name not in self.thinned]
        if new:
            worst = max(new, key=lambda name: shares[name])
            text = f"{_listed(new)}: at least half of the units are dead, {shares[worst]:.0%} in '{worst}'"
            yield _event(step, "units_died", new, shares[worst], text)
        self.thinned |= set(new)

    def _drift(self, step: MonitorStep) -> Iterable[MonitorEvent]:
        if step.drift is None or not step.drift > 0:
            return
        log = math.log10(step.drift) / math.log10(DRIFTED)
        level = int(log)
        if level and (abs(level) > abs(self.level) or level * self.level < 0):
            self.level, ends = level, [*self.start]
            factor, side = (step.drift, "more") if level > 0 else (1 / step.drift, "less")
            text = (
                f"gradient balance drifted by ×{step.drift:.3g} since the start: against the back, the front "
                f"gets {factor:.3g} times {side} gradient (second moment) than it did"
            )
            kind = "balance_drifted"
            if self._evened(step):
                kind, text = "balance_evened", f"{text}; the ends are more alike now"
            yield _event(step, kind, (ends[0], ends[-1]), step.drift, text)
        elif abs(log) < 0.5:
            self.level = 0

    def _evened(self, step: MonitorStep) -> bool:
        # Behind a last layer that starts at zero the front has next to no gradient until that layer grows.
        now = profile(step.layers)
        common = [name for name in self.start if name in now]
        first, last = (balance({name: sizes[name] for name in common}) for sizes in (self.start, now))
        return bool(first and last and abs(math.log(last)) < abs(math.log(first)))

    def _forgetting(self, step: MonitorStep) -> Iterable[MonitorEvent]:
        kept = {p.name: p.kept for p in step.parameters if p.kept is not None and len(p.shape) >= 2}
        new = [name for name, share in kept.items() if share < FORGOTTEN and name not in self.forgotten]
        if new:
            least = min(kept[name] for name in new)
            text = f"{_listed(new)}: under {FORGOTTEN:.0%} of the squared norm lies along the initial value"
            yield _event(step, "start_forgotten", new, least, text)
        self.forgotten |= set(new)
        if step.kept is not None and step.kept < FORGOTTEN and not self.gone:
            self.gone = True
            text = (
                f"the start no longer matters: {step.kept:.0%} of the weights' squared norm still lies "
                "along their initial values"
            )
            yield _event(step, "start_no_longer_matters", (), step.kept, text)


def _dead(layer: LayerStep) -> bool:
    return layer.gradient == 0.0 or (layer.dead is not None and layer.dead == layer.units)


def _stopped(names: list[str]) -> str:
    # In order of execution the last of the idle layers is the one that lets nothing back.
    return f"no gradient gets past '{names[-1]}'"


def _finite(*values: float | None) -> bool:
    return all(value is None or math.isfinite(value) for value in values)


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _event(
    step: MonitorStep, kind: str, where: Iterable[str], effect: float | None, message: str
) -> MonitorEvent:
    return MonitorEvent(step.step, kind, tuple(dict.fromkeys(where)), effect, message)
