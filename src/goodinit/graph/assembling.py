"""From the coarse graph to one record for every use of every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from goodinit.graph.arrivals import arrives, sampled, yielded
from goodinit.graph.attention import attention_parts, gate_part, logit_variance, reads_attention
from goodinit.graph.blocks import LOOKUPS, covered, joined, parameter_block, parameter_dims, partition
from goodinit.graph.branches import Branches
from goodinit.graph.contractions import CONTRACTIONS
from goodinit.graph.coupling import couplings_of
from goodinit.graph.edges import inside
from goodinit.graph.expressions import elementwise
from goodinit.graph.factors import as_factor
from goodinit.graph.flow import Flow, Link, Part, Root, Site, Touch
from goodinit.graph.gains import as_gain, divides, inner_gains
from goodinit.graph.holding import held_by
from goodinit.graph.interpolating import balance
from goodinit.graph.joining import besides
from goodinit.graph.layout import Span
from goodinit.graph.making import making_of
from goodinit.graph.merging import merged
from goodinit.graph.norm_sizes import norm_size
from goodinit.graph.paths import End, Origin, Paths, parameter_names
from goodinit.graph.recurrent import between, recurrent_names, recurrent_uses
from goodinit.graph.scoring import scored
from goodinit.graph.uses import Residual, Sink, Source, WeightUse

__all__ = ["assemble"]

_RANK = ["residual", "generated", "linear_attention", "gate", "attention_logits", "attention_mix"]
_RANK += ["weight", "norm", "output", "end"]
# What makes one weight of several.
_SUMS = {"add", "sub"}
_CONTRACTING = {*CONTRACTIONS, "convolution", "_convolution", "_trilinear", "_grouped_mm"}


def assemble(flow: Flow, names: dict[int, str]) -> list[WeightUse]:
    """Return every use in the order of execution, equal ones of one parameter counted together.

    Args:
        flow: the coarse graph.
        names: canonical names by the id of the model's parameter.
    """
    return merged(_Assembler(flow, names).uses())


class _Assembler:
    """Holds what is computed once for the whole flow."""

    def __init__(self, flow: Flow, names: dict[int, str]) -> None:
        self.flow = flow
        self.names = names
        self.paths = Paths.of(flow)
        self.mixed = frozenset(self.paths.mixes)
        self.couplings = couplings_of(self.paths)
        self.attention = attention_parts(self.paths)
        scales: dict[int, list[int]] = {}
        for at, touch in enumerate(flow.touches):
            if touch.kind == "scale":
                scales.setdefault(touch.node, []).append(at)
        self.branches = Branches(self.paths, scales)
        self.streams = self.branches.streams
        self.gone: dict[tuple[End, ...], tuple[tuple[Sink, ...], str, Residual | None, str | None]] = {}
        self.roots = {id(root.site): root for root in flow.roots.values() if root.site is not None}

    def uses(self) -> list[WeightUse]:
        """Return the uses before merging."""
        flow = self.flow
        direct = {
            part.leaf for site in flow.sites if not site.provisional for part in site.parts if not part.role
        }
        found: list[WeightUse] = []
        for site in flow.sites:
            if site.provisional:
                parts = tuple(part for part in site.parts if part.leaf not in direct)
                if parts:
                    found.extend(self._site(dataclasses.replace(site, parts=parts), None))
            else:
                found.extend(self._site(site, self.roots.get(id(site))))
        gains = inner_gains(flow)
        touches = [as_gain(flow, touch, gains) for touch in flow.touches]
        for factors in (False, True):  # a factor of a weight has that weight's site, or else no other use
            reached = {use.name for use in found if factors}
            found += [u for touch in touches for u in self._touch(touch, factors) if u.name not in reached]
        for node in flow.tape.nodes:
            if node.op == "rnn":
                links = flow.roots[node.outputs[0]].links
                moment = sampled(flow, links[0], self.mixed) if links else None
                source = dataclasses.replace(self._source(links, None), moment=moment)
                attributes = recurrent_names(node.extra, node.module, self.names)
                found.extend(recurrent_uses(node.extra, attributes, source, node, between(flow, node)))
        return sorted(found, key=lambda use: use.index)

    # -- contractions and look-ups

    def _site(self, site: Site, root: Root | None) -> Iterable[WeightUse]:
        if root is None:
            base = WeightUse("", (), site.kind, site.fan_in, site.fan_out, Source("data"), (Sink("end"),))
            for part in site.parts:
                yield self._for_part(base, site, part, None, None)
            return
        source = self._source(root.links, site)
        shape = self.flow.tape.values[root.value].shape
        for dim, span, parts in self._blocks(site, root, shape):
            ends = self._ends(root, dim, span, shape)
            sinks, gate, residual, norm_after = self._goes(ends)
            module = self.flow.tape.nodes[site.node].module
            attention = parts[0] if parts else ""
            if not attention and site.kind != "embedding" and reads_attention(self.paths, root.value):
                attention = "output"
            base = WeightUse(
                "",
                (),
                site.kind,
                site.fan_in,
                site.fan_out,
                source,
                sinks,
                groups=site.groups,
                stride=site.stride,
                module=module,
                index=site.node,
                attention=attention,
                gate=gate,
                residual=residual,
                norm_before=source.norm,
                norm_after=norm_after,
                head=all(sink.kind == "output" for sink in sinks),
                held=held_by(self.flow, site.node, site.shape),
                inside=inside(self.flow.tape, site),
                coupling=self.couplings.get(root.value),
            )
            for part in site.parts:
                yield self._for_part(base, site, part, dim, span)

    def _for_part(
        self, base: WeightUse, site: Site, part: Part, dim: int | None, span: Span | None
    ) -> WeightUse:
        """Fill in what depends on the parameter: its name, block, dimensions and its own fan_out."""
        value = self.flow.tape.values[part.leaf]
        operand = None if dim is None else site.features.get(dim)
        block = parameter_block(part, value.shape, site, operand, span)
        fan_out = base.fan_out
        if operand is not None and span is not None and span.size < site.shape[operand]:
            fan_out *= span.size / site.shape[operand]
        if part.where is not None and part.where[0] in site.output:
            fan_out *= part.where[2] / site.shape[part.where[0]]
        dims = [
            parameter_dims(part.layout, value.shape, group)
            for group in (site.contracted, site.output, site.batch)
        ]
        use = dataclasses.replace(
            base,
            name=value.name,
            shape=value.shape,
            block=block,
            contracted=dims[0],
            output=dims[1],
            batch=dims[2],
            fan_out=fan_out,
            through=tuple(op for op in part.through if op not in ("clone", "_to_copy")),
            making=making_of(self.flow, site, part),
        )
        added = [other for other in site.parts if other.leaf != part.leaf and not other.role]
        if added and _SUMS.intersection(part.through):
            held = held_by(self.flow, site.node, site.shape, added)
            use = dataclasses.replace(use, held=held)
        if part.inner and not part.role:
            return as_factor(self.flow, use, site, part)
        if part.role:
            main = parameter_names(self.flow, site.parts)
            return dataclasses.replace(
                use, op=part.role, fan_in=1.0, fan_out=1.0, contracted=(), batch=(), of=main
            )
        return use

    def _blocks(
        self, site: Site, root: Root, shape: Sequence[int]
    ) -> list[tuple[int | None, Span | None, list[str]]]:
        """Return (dimension of the result, block of it, parts in attention) for every block."""
        marks = self.attention.get(root.value, [])
        dims = [dim for dim, operand in site.features.items() if operand in site.output]
        if len(dims) != 1 or site.kind == "embedding":
            return [(None, None, [part for _, part in marks])]
        dim = dims[0]
        reads = [end.links[0] for end in self._read(root, shape)]
        spans = partition([covered(link, shape, dim) for link in reads], shape[dim])
        placed = [(covered(Link(root.value, layout, 0), shape, dim), part) for layout, part in marks]
        blocks = [
            (span, list(dict.fromkeys(part for where, part in placed if span.contains(where))))
            for span in spans
        ]
        # The halves that a rotary embedding turns belong together.
        merged: list[tuple[Span, list[str]]] = []
        for span, parts in blocks:
            if merged and parts and merged[-1][1] == parts:
                union = joined(merged[-1][0], span)
                if union is not None:
                    merged[-1] = (union, parts)
                    continue
            merged.append((span, parts))
        return [(dim, span, parts) for span, parts in merged]

    def _read(self, root: Root, shape: Sequence[int]) -> list[End]:
        """The ends of a root without those that read an empty slice of it."""
        ends = self.paths.ends[root.value]
        return [end for end in ends if 0 in shape or not end.links[0].layout.empty]

    def _ends(self, root: Root, dim: int | None, span: Span | None, shape: Sequence[int]) -> list[End]:
        ends = self._read(root, shape)
        if dim is None or span is None or span.size >= shape[dim]:
            return ends
        inside = []
        for end in ends:
            read = covered(end.links[0], shape, dim)
            if span.contains(read) or read.contains(span):
                inside.append(end)
        return inside

    def _goes(self, ends: Sequence[End]) -> tuple[tuple[Sink, ...], str, Residual | None, str | None]:
        """As `_gone`, each list of ends once."""
        key = tuple(ends)
        if key not in self.gone:
            self.gone[key] = self._gone(ends)
        return self.gone[key]

    def _gone(self, ends: Sequence[End]) -> tuple[tuple[Sink, ...], str, Residual | None, str | None]:
        """Return the sinks, the part in a gate, the place in a residual stream, and the norm after."""
        sinks: list[Sink] = []
        gates: list[str] = []
        norms: list[str] = []
        residual: Residual | None = None
        for end in ends:
            sinks.append(self._sink(end))
            if end.kind == "gate":
                gates.append(gate_part(self.paths, end))
            elif end.kind == "norm":
                norms.append(self._norm_name(end.target))
            residual = residual or self.branches(end)
        kinds = {sink.kind for sink in sinks}
        # A rotary embedding turns its halves with both signs; only the plain path is of interest.
        plain = {sink.kind for sink in sinks if sink.activation is None}
        sinks = [
            sink
            for sink in sinks
            if sink.activation is None or not sink.activation.linear or sink.kind not in plain
        ]
        unique = list(dict.fromkeys(sinks)) or [Sink("end")]
        unique.sort(key=lambda sink: _RANK.index(sink.kind))
        gate = "gate" if "gate" in gates else gates[0] if gates else ""
        return tuple(unique), gate, residual, norms[0] if norms and kinds == {"norm"} else None

    def _sink(self, end: End) -> Sink:
        activation = elementwise(self.flow, end.links)
        if end.kind == "weight":
            site = self.flow.roots[end.target].site
            names = parameter_names(self.flow, site.parts) if site is not None else ()
            summed = any(self.flow.roots[link.root].kind == "reduce" for link in end.links[1:])
            before = [] if summed else besides(self.flow, end.links)
            made = [link for link in before if self.paths.origins[link.root].kind == "weight"]
            beside = arrives(self.flow, made, self.mixed) if len(made) == len(before) else None
            return Sink("weight", names, activation, beside=beside)
        beside = balance(self.paths, end)
        norm = self._norm_name(end.target) if end.kind == "norm" else None
        product = self.flow.roots[end.target] if end.kind == "generated" else None
        sums = 1.0 if product is None else product.sums
        yields = None if product is None else yielded(self.flow, product, self.mixed)
        variance = logit_variance(self.paths, end) if end.kind == "attention_logits" else 1.0
        rows = scored(self.paths, end, self.mixed)
        return Sink(end.kind, (), activation, norm, sums, variance, yields, rows, beside)

    def _source(self, links: Sequence[Link], site: Site | None) -> Source:
        if not links:
            return Source("data")
        if len(links) > 1 and site is not None and site.kind == "bilinear":
            made = [self.paths.origins[link.root] for link in links]
            kinds = {origin.kind for origin in made}
            names = tuple(dict.fromkeys(name for origin in made for name in origin.names))
            return Source(kinds.pop() if len(kinds) == 1 else "mixed", names)
        link = links[0]
        origin: Origin = self.paths.origins[link.root]
        activation = elementwise(self.flow, (*origin.links, link))
        norm = self._norm_name(origin.root) if origin.kind == "norm" else None
        stream = self.streams[origin.root][0] if origin.root in self.streams else None
        moment = sampled(self.flow, link, self.mixed) if site is not None else None
        size = norm_size(self.flow, origin.root) if norm else 1.0
        return Source(
            origin.kind, origin.names, activation, norm, stream, origin.pooled, origin.terms, moment, size
        )

    def _norm_name(self, value: int) -> str:
        root = self.flow.roots[value]
        return root.module or root.op

    # -- scales, shifts and the rest

    def _touch(self, touch: Touch, factors: bool = False) -> Iterable[WeightUse]:
        flow = self.flow
        if touch.on is None:
            base = self._touch_base(touch, Source("data"), [], ())
            targets: list[tuple[int | None, Span | None, WeightUse]] = [(None, None, base)]
        else:
            root = flow.roots[touch.on.root]
            source = self._source([touch.on], None)
            of = parameter_names(flow, root.site.parts) if root.site is not None else ()
            targets = [
                (dim, span, self._touch_base(touch, source, ends, of))
                for dim, span, ends in self._touched(touch, root)
            ]
        for part in touch.parts:
            value = flow.tape.values[part.leaf]
            if not factors and _CONTRACTING.intersection(part.through):
                continue
            looked_up = touch.kind in ("token", "start") and bool(LOOKUPS.intersection(part.through))
            for dim, span, base in targets:
                site = Site(0, "", (), touch.shape, (), (), (), 1.0, 1.0, {})
                yield dataclasses.replace(
                    base,
                    name=value.name,
                    shape=value.shape,
                    op="embedding" if looked_up else part.role or touch.kind,
                    fan_out=float(value.shape[-1]) if looked_up else touch.fan_out,
                    block=parameter_block(part, value.shape, site, dim, span),
                    output=tuple(d for d, n in enumerate(value.shape) if n > 1),
                    batch=parameter_dims(part.layout, value.shape, self._stacked(touch)),
                    through=tuple(op for op in part.through if op not in ("clone", "_to_copy")),
                )

    def _stacked(self, touch: Touch) -> tuple[int, ...]:
        """The dimensions of a bias along which each of a stack of weights has its own, as experts have."""
        root = None if touch.on is None else self.flow.roots[touch.on.root]
        if touch.kind != "shift" or touch.on is None or root is None or root.site is None:
            return touch.batch
        site, layout = root.site, touch.on.layout
        shape = self.flow.tape.values[root.value].shape
        found = []
        for dim, size in enumerate(touch.shape):
            along = parameter_dims(layout, shape, (dim + len(layout.dims) - len(touch.shape),))
            if size > 1 and along and all(site.features.get(d, -1) in site.batch for d in along):
                found.append(dim)
        return tuple(found) or touch.batch

    def _touch_base(
        self, touch: Touch, source: Source, ends: Sequence[End], of: tuple[str, ...]
    ) -> WeightUse:
        node = self.flow.tape.nodes[touch.node] if self.flow.tape.nodes else None
        sinks, _, residual, norm_after = self._goes(ends)
        return WeightUse(
            "",
            (),
            touch.kind,
            1.0,
            touch.fan_out,
            source,
            sinks,
            module=node.module if node is not None else "",
            index=touch.node,
            residual=residual,
            norm_before=source.norm,
            norm_after=norm_after,
            of=of,
            held=held_by(self.flow, touch.node, touch.shape) if touch.kind == "shift" else None,
            divides=divides(self.flow, touch),
        )

    def _touched(self, touch: Touch, root: Root) -> list[tuple[int | None, Span | None, list[End]]]:
        """For every block of a result: the dimension of its bias, the block, and the ends."""
        ends = list(self.paths.ends[root.value])
        shape = self.flow.tape.values[root.value].shape
        site = root.site
        dims = [] if site is None else [d for d, operand in site.features.items() if operand in site.output]
        if site is None or touch.on is None or len(dims) != 1:
            return [(None, None, ends)]
        dim = dims[0]
        cover = covered(touch.on, shape, dim)
        if cover.size < shape[dim]:
            return [(None, None, self._ends(root, dim, cover, shape))]
        own = [d for d, n in enumerate(touch.shape) if n > 1]
        if touch.kind != "shift" or len(own) != 1 or touch.shape[own[0]] != shape[dim]:
            return [(None, None, ends)]
        return [
            (own[0], span, self._ends(root, at, span, shape))
            for at, span, _ in self._blocks(site, root, shape)
        ]
