"""Any value of a tape as a tensor of numbers: what was recorded runs again, with weights that are drawn.

A sum over positions, a share of a total or a product of two signals depends on sizes, on constants and
on how alike positions are, which only the operations themselves know. So they run once more, on data
drawn from a Gaussian: every weight is drawn too, and its result brought to the second moment that it is
to have. Where that would take too long, the results of weights are drawn themselves.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from goodinit.graph.biases import bias_of, start_of
from goodinit.graph.drawing import Budget, SpentError, drawn, mapped, wide
from goodinit.graph.flow import Const, Flow, Root, Weight
from goodinit.graph.forms import form_of
from goodinit.graph.paths import parameter_names
from goodinit.graph.recorder import written_by
from goodinit.graph.states import Leaf, Unit, step_moments
from goodinit.graph.tape import Node, Ref

__all__ = ["LEAVES", "computed", "replayed_moment"]

#: The kind of source that a root is, for roots at which signals may be drawn.
LEAVES = {"data": "data", "weight": "weight", "embedding": "embedding", "residual": "residual"}
LEAVES |= {"learned": "learned", "recurrent": "recurrence", "attention": "attention"}
LEAVES |= {"generated": "generated"}

# Roots that bring what they are made of to a second moment of their own.
_SIZED = ("attention", "generated")
# So many numbers give a mean square to a few percent even where a few large ones make most of it.
_ENOUGH = 65_536
_MOST_TIMES = 16
# A run of so many operations is not repeated for the sake of a few percent.
_CHEAP = 4_000
# So many numbers are held at once.
_MOST_HELD = 2**26


def replayed_moment(flow: Flow, value: int, leaf: Leaf, mixed: frozenset[int], sized: bool = True) -> float:
    """Return the second moment of a value; NaN where what was recorded cannot run again.

    Args:
        flow: the coarse graph.
        value: the value.
        leaf: the second moment of what begins a signal.
        mixed: products in which attention mixes values by a softmax.
        sized: whether the value, too, is brought to the second moment that it is to have.
    """
    for through in (True, False):
        runs = flow.functions.setdefault(("replays", leaf, through), [])
        answers = flow.functions.setdefault(("answers", leaf, through), {})
        assert isinstance(runs, list)
        assert isinstance(answers, dict)
        budget = runs[0].budget if runs else Budget()
        form = _form(flow, value, leaf, mixed, sized)
        if not through and form in answers:
            return float(answers[form])
        moments: list[float] = []
        count, spent = 0, False
        for at in range(_MOST_TIMES):
            if at == len(runs):
                runs.append(_Replay(flow, leaf, mixed, through, at, budget))
            try:
                with torch.no_grad():
                    found = runs[at].value(value, sized).to(torch.float64)
            except SpentError:
                spent = True
                break
            except Exception:  # recorded code that cannot run again, or a value that nobody holds
                break
            moments.append(float(found.square().mean()))
            count += found.numel()
            if not 0 < count < _ENOUGH or (at + 2) * runs[0].operations > _CHEAP or budget.low:
                break
        # A few large numbers, as exponentials make them, leave most runs as they are.
        if count and math.isfinite(typical := statistics.median(moments)):
            answers[form] = typical
            return typical
        if spent and form in answers:
            # The layer before that does the same, whose positions have about as much in common.
            return float(answers[form])
    return math.nan


def _form(flow: Flow, value: int, leaf: Leaf, mixed: frozenset[int], sized: bool) -> tuple[object, ...]:
    """What is done between drawn results of weights and a value, the same for layers that do the same."""
    run = _Replay(flow, leaf, mixed, False, 0, Budget())

    def begins(index: int) -> object:
        root = flow.roots.get(index)
        if root is None or not run.drawn(root):
            return None
        bias = bias_of(flow, root, leaf)
        started = None if bias is None else float(bias.double().mean())
        return root.kind, root.value if root.kind == "recurrent" else run.moment(root), started

    node = None if sized else flow.tape.producer(value)
    return form_of(flow.tape, [value] if node is None else node.inputs, run.needs, begins)


def computed(flow: Flow, value: int, given: dict[int, Tensor]) -> Tensor:
    """Return a value made of parameters and constants alone.

    Args:
        flow: the coarse graph.
        value: the value.
        given: numbers of some values, in the place of those that the model holds.

    Raises:
        LookupError: if it depends on numbers that nobody holds.
    """
    run = _Replay(flow, None, frozenset(), True, 0, Budget())
    run.known.update(given)
    return run.value(value)


class _Replay:
    """One run; every value keeps what it was the first time.

    Args:
        leaf: as `replayed_moment` takes it; None where nothing may be drawn.
        through: whether weights are drawn, and not what they put out.
        seed: of the drawing.
        budget: what it may cost.
    """

    def __init__(
        self,
        flow: Flow,
        leaf: Leaf | None,
        mixed: frozenset[int],
        through: bool,
        seed: int,
        budget: Budget,
    ) -> None:
        self.flow, self.leaf, self.mixed, self.through = flow, leaf, mixed, through
        self.known: dict[int, Tensor] = {}
        self.shares = leaf.shares if isinstance(leaf, Unit) else {}
        self.seed, self.budget, self.operations, self.held = seed, budget, 0, 0

    def value(self, index: int, sized: bool = True) -> Tensor:
        """Return a value; where it is not to be sized, as its operation makes it of what it reads.

        Raises:
            LookupError: if it depends on numbers that are not known, or on too many.
        """
        node = None if sized else self.flow.tape.producer(index)
        if node is not None:
            read = {at: self.value(at) for at in node.inputs}
            made = self._run(node, read)[node.outputs.index(index)]
            if made is None:
                raise LookupError(index)
            return made
        todo = [index]
        while todo:
            at = todo[-1]
            missing = [] if at in self.known else [i for i in self.needs(at) if i not in self.known]
            todo.extend(missing)
            if not missing:
                todo.pop()
                if at not in self.known:
                    self._make(at)
        return self.known[index]

    def drawn(self, root: Root) -> bool:
        """Whether a root's signal is drawn, without a look at what it was made from."""
        if root.kind in ("weight", "residual", "attention", "generated") or root.value in self.mixed:
            return not self.through
        state = self.flow.states[root.value]
        if isinstance(state, Const) and state.fill is not None:
            return False  # the zeros with which a recursion begins
        return root.kind in LEAVES

    def needs(self, index: int) -> list[int]:
        root, node = self.flow.roots.get(index), self.flow.tape.producer(index)
        if root is not None and self.drawn(root):
            return [link.value for link in root.links if link.part == "addend"]
        if root is not None and root.kind == "weight" and node is not None:
            return [i for i in node.inputs if not isinstance(self.flow.states[i], Weight)]
        return [] if node is None else list(node.inputs)

    def _make(self, index: int) -> None:
        root, node = self.flow.roots.get(index), self.flow.tape.producer(index)
        if root is not None and self.drawn(root):
            made = (
                self._state(root)
                if root.kind == "recurrent"
                else self._normal(index, index, self.moment(root))
            )
            for link in root.links:
                if link.part == "addend":
                    made = made + self.known[link.value]
            self._keep(index, self._biased(root, made))
        elif node is None:
            self._keep(index, self._constant(index))
        elif root is not None and root.kind == "weight":
            self._keep(index, self._contracted(root, node))
        else:
            for output, result in zip(node.outputs, self._run(node), strict=True):
                if output not in self.known and result is not None:
                    sized = root is not None and (root.kind in _SIZED or root.value in self.mixed)
                    self._keep(output, self._sized(result, root) if sized and root is not None else result)
            if index not in self.known:
                raise LookupError(index)

    def _keep(self, index: int, made: Tensor) -> None:
        self.operations += 1
        if (share := self.shares.get(index)) is not None:
            made = _brought(made, share)
        self.known[index] = made
        node = self.flow.tape.producer(index)
        self.held += 0 if node is not None and node.view else made.numel()
        if self.held > _MOST_HELD:
            # Whatever is needed again is made again, from the last additions to the streams.
            streams = [
                i for i in self.known if i in self.flow.roots and self.flow.roots[i].kind == "residual"
            ]
            self.known = {i: self.known[i] for i in (*streams[-2:], index)}
            self.held = sum(tensor.numel() for tensor in self.known.values())

    def moment(self, root: Root) -> float:
        names = parameter_names(self.flow, root.site.parts) if root.site is not None else root.names
        if self.leaf is None:
            raise LookupError(root.value)
        return self.leaf(LEAVES.get(root.kind, "attention"), names)

    def _wide(self, node: Node, key: int) -> Tensor | None:
        """What a large drawn weight puts out; None for others."""
        if node.op not in ("mm", "addmm"):
            return None
        left, right = (ref.value for ref in node.args[-2:])
        if isinstance(self.flow.states[left], Weight):
            return None
        signal, results = self.known[left], self.flow.tape.values[right].shape[1]
        if not wide(len(signal), signal.shape[1], results):
            return None
        return mapped(signal, results, self.seed, key, self.budget)

    def _state(self, root: Root) -> Tensor:
        """A recurrent layer's state, each step of its own size."""
        if self.leaf is None:
            raise LookupError(root.value)
        moments, dim = step_moments(self.flow, root, self.leaf)
        made = self._normal(root.value, root.value, 1.0)
        sizes = torch.from_numpy(moments.copy()).to(made.dtype).sqrt()
        return made * (sizes if dim is None else sizes.reshape(-1, *[1] * (made.dim() - 1 - dim)))

    def _normal(self, index: int, key: int, moment: float) -> Tensor:
        """Numbers of a value's shape and type; of one key they are always the same."""
        value = self.flow.tape.values[index]
        dtype = value.dtype if value.dtype.is_floating_point else torch.float32
        return drawn(value.shape, self.seed, key, self.budget, dtype) * math.sqrt(moment)

    def _sized(self, made: Tensor, root: Root) -> Tensor:
        """A result brought to the second moment that it is to have."""
        return _brought(made, self.moment(root))

    def _contracted(self, root: Root, node: Node) -> Tensor:
        """What a weight puts out: the operation with a drawn weight, or drawn where that cannot run."""
        assert root.site is not None
        part = root.site.parts[0]
        key = (part.leaf + 1 << 34) + (0 if part.layout is None else part.layout.offset)
        added = {link.value: self.known[link.value] for link in root.links if link.part == "addend"}
        made = self._wide(node, key)
        if made is None:
            normal = {}
            for index in node.inputs:
                if isinstance(self.flow.states[index], Weight):
                    bias = self.flow.tape.values[index].shape != root.site.shape
                    normal[index] = self._normal(index, key, 0.0 if bias else 1.0)
            silent = {i: torch.zeros_like(tensor) for i, tensor in added.items()}
            self.budget.spend(products=root.site.fan_in * math.prod(self.flow.tape.values[root.value].shape))
            made = self._run(node, {**self.known, **normal, **silent})[0]
        if made is None:
            raise LookupError(root.value)
        made = self._sized(made, root)
        for tensor in added.values():
            made = made + tensor
        return self._biased(root, made)

    def _biased(self, root: Root, made: Tensor) -> Tensor:
        bias = None if self.leaf is None else bias_of(self.flow, root, self.leaf)
        return made if bias is None else made + bias.to(made.dtype)

    def _constant(self, index: int) -> Tensor:
        tape, value = self.flow.tape, self.flow.tape.values[index]
        held = tape.held.get(index)
        # A weight that elementwise operations use, as mixtures of kernels do.
        if self.leaf is not None and index in self._weights() and (held is None or held.requires_grad):
            return self._normal(index, index, 1.0)
        if self.leaf is not None and (start := start_of(self.flow, index, self.leaf)) is not None:
            return start
        plain = type(held) in (Tensor, torch.nn.Parameter) and not (value.name and self._drawn_at_first(held))
        if held is not None and plain and held.shape == value.shape:
            return held.detach().to("cpu")
        fill = value.fill
        if fill is None and value.name and self.leaf is not None:
            # A gain leaves a signal as it is, and so does a bias.
            fill = float(index in self._gains())
        if fill is None:
            raise LookupError(index)
        return torch.full(value.shape, fill, dtype=value.dtype)

    def _drawn_at_first(self, held: Tensor | None) -> bool:
        """Whether a parameter's numbers say nothing, since a plan will make biases of them 0 and gains 1."""
        if not isinstance(self.leaf, Unit) or held is None or held.is_meta or not held.requires_grad:
            return False
        numbers = held.detach()
        return bool((numbers != numbers.flatten()[0]).any()) if numbers.numel() else False

    def _weights(self) -> frozenset[int]:
        flow = self.flow
        found = flow.functions.get("weights")
        if found is None:
            parts = (part for site in flow.sites for part in site.parts if not part.role)
            found = flow.functions["weights"] = frozenset(part.leaf for part in parts)
        assert isinstance(found, frozenset)
        return found

    def _gains(self) -> frozenset[int]:
        flow = self.flow
        found = flow.functions.get("gains")
        if found is None:
            touches = (touch for touch in flow.touches if touch.kind == "scale")
            found = flow.functions["gains"] = frozenset(p.leaf for touch in touches for p in touch.parts)
        assert isinstance(found, frozenset)
        return found

    def _run(self, node: Node, known: dict[int, Tensor] | None = None) -> list[Tensor | None]:
        """Run one operation again on copies of what it read."""
        known = self.known if known is None else known
        values = self.flow.tape.values
        self.budget.spend(1, 0 if node.view else sum(math.prod(values[i].shape) for i in node.outputs))
        if node.op in ("alias", "written"):
            return [self._seen(node)]
        # An operation may write into what it reads; a value of the tape never changes.
        mutates = node.func._schema.is_mutable
        copies = {i: known[i].clone() if mutates else known[i] for i in node.inputs}
        args, kwargs = tree_map_only(Ref, lambda ref: copies[ref.value], (node.args, node.kwargs))
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        result = node.func(*args, **kwargs)
        outputs = [t for t in (result if isinstance(result, list | tuple) else [result]) if _is_tensor(t)]
        for tensor in written_by(node.func, args, kwargs):
            if not any(tensor is out for out in outputs):
                outputs.append(tensor)
        return [outputs[i] if i < len(outputs) else None for i in range(len(node.outputs))]

    def _seen(self, node: Node) -> Tensor:
        """What a view shows after its memory was written through other views, one write after another."""
        values = self.flow.tape.values
        out = values[node.outputs[0]]
        spans = [values[i] for i in (*node.inputs, out.index)]
        size = max(
            v.offset + 1 + sum((n - 1) * step for n, step in zip(v.shape, v.stride, strict=True))
            for v in spans
        )
        memory = torch.zeros(size, dtype=out.dtype)
        for i in node.inputs:
            memory.as_strided(values[i].shape, values[i].stride, values[i].offset).copy_(self.known[i])
        return memory.as_strided(out.shape, out.stride, out.offset).clone()


def _brought(made: Tensor, moment: float) -> Tensor:
    size = float(made.to(torch.float64).square().mean())
    return made * math.sqrt(moment / size) if size > 0 else made


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
