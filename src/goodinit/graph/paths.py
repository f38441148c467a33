"""Where signals come from and where they go: walks over the coarse graph, each root visited once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Flow, Link, Part, Root, Signal
from goodinit.graph.generating import generated_link, summed_product
from goodinit.graph.joining import reads
from goodinit.graph.layout import composed, whole

__all__ = ["End", "Origin", "Paths", "parameter_names", "walk_back"]

# Roots that change neither what a signal is nor which weight made it.
_PASSED = {"move", "sum", "mixed", "center", "reduce", "softmax"}
# Roots whose elements are those of what they read, one for one.
_ALIGNED = {"sum", "mixed", "center", "norm", "residual", "product"}
_POOLS = ("pool", "mean", "amax", "logsumexp")
_MOST_ENDS = 8
_MOST_NAMES = 8
_LONGEST = 12
# What lies between the two products of an attention without softmax: sums, decays, norms' means.
_WITHIN = {"move", "sum", "mixed", "center", "reduce", "product"}


@dataclass(frozen=True)
class End:
    """One thing that a root goes into: `links` lead there, `target` is that root (-1: the output)."""

    kind: str
    target: int
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Origin:
    """What a root is, seen from what reads it, with the links that led through passing roots."""

    kind: str
    root: int
    names: tuple[str, ...]
    links: tuple[Link, ...] = ()
    pooled: bool = False
    terms: int = 1


@dataclass
class Paths:
    """Origins and ends of all roots of a flow."""

    flow: Flow
    readers: dict[int, list[tuple[int, Link]]] = field(default_factory=dict)
    origins: dict[int, Origin] = field(default_factory=dict)
    ends: dict[int, tuple[End, ...]] = field(default_factory=dict)
    logits: set[int] = field(default_factory=set)
    over_logits: set[int] = field(default_factory=set)
    mixes: set[int] = field(default_factory=set)
    generated: dict[int, Link] = field(default_factory=dict)
    inner: dict[int, int] = field(default_factory=dict)
    linear: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, flow: Flow) -> Paths:
        """Walk a flow forward and back once."""
        paths = cls(flow)
        for value, root in flow.roots.items():
            for link in root.links:
                paths.readers.setdefault(link.root, []).append((value, link))
        paths._find_attention()
        for value, root in flow.roots.items():
            paths.origins[value] = paths._origin(root)
        outputs: dict[int, list[Link]] = {}
        for value in flow.tape.outputs:
            state = flow.states[value]
            if isinstance(state, Signal):
                outputs.setdefault(state.root, []).append(Link(state.root, state.layout, value, "output"))
        for value in reversed(list(flow.roots)):
            found = [End("output", -1, (link,)) for link in outputs.get(value, ())]
            for reader, link in paths.readers.get(value, ()):
                found.extend(paths._into(reader, link))
            paths.ends[value] = _distinct(found)
        return paths

    # -- attention

    def _find_attention(self) -> None:
        roots = self.flow.roots
        for value, root in roots.items():
            if root.kind != "softmax":
                continue
            found = [
                at
                for at in walk_back(self.flow, root.links, {"sum", "mixed", "move", "product", "center"})
                if roots[at].kind == "interaction"
            ]
            self.logits.update(found)
            if found:
                self.over_logits.add(value)
        additive: set[int] = set()
        for value, root in roots.items():
            if root.kind != "interaction" or value in self.logits:
                continue
            for link in root.links:
                made = [
                    at
                    for at in walk_back(self.flow, [link], {"move", "mixed"})
                    if roots[at].kind == "softmax"
                ]
                if any(at in self.over_logits for at in made):
                    self.mixes.add(value)
                elif made:
                    root.kind = "product"
                    additive.update(made if self._over_places(root, link) else ())
        self.over_logits.update(additive)
        for value, root in roots.items():
            made_of = None if value in self.logits | self.mixes else generated_link(self.flow, root)
            if made_of is not None and not self._weighed(root, made_of):
                product = summed_product(self.flow, root)
                if product is not None:
                    sizes = (math.prod(self.flow.tape.values[at].shape) for at in (product.value, value))
                    root.sums = next(sizes) / max(next(sizes), 1)
                    self.inner[product.value] = value
                root.kind, root.names = "generated", self._maker(made_of)
                self.generated[value] = made_of
        for value, root in roots.items():
            if self._plain_product(value):
                below = set(walk_back(self.flow, root.links, _WITHIN)) - {value}
                inner = {at for at in below if self._plain_product(at) or self._outer(roots[at])}
                self.linear.update({value, *inner} if inner else ())

    def _over_places(self, root: Root, shares: Link) -> bool:
        """Whether shares weigh places of what one layer put out, as additive attention does, not experts."""
        links = [link for link in root.links if link.root != shares.root]
        sites = [self.flow.roots[at].site for at in walk_back(self.flow, links, {"move"})]
        return len(sites) == 1 and sites[0] is not None and not sites[0].batch

    def _plain_product(self, value: int) -> bool:
        """Whether a root is a sum of products of two signals, other than softmax attention's."""
        return self.flow.roots[value].kind == "interaction" and value not in self.logits | self.mixes

    def _weighed(self, root: Root, made: Link) -> bool:
        """Whether what a layer put out is summed with shares or gates, as results of experts are."""
        product = summed_product(self.flow, root)
        others = [link for link in (product or root).links if link != made]
        reached = walk_back(self.flow, others, {"move", "mixed"})
        if any(self.flow.roots[at].kind == "softmax" for at in reached):
            return True
        functions = [elementwise(self.flow, [link]) for link in others] if product is not None else []
        values = [f.fingerprint for f in functions if f is not None and f.fingerprint]
        return any(min(found) >= 0 and max(found) <= 1 for found in values)

    def _maker(self, link: Link) -> tuple[str, ...]:
        root = self.flow.roots[link.root]
        if root.site is not None:
            return parameter_names(self.flow, root.site.parts)
        parts = (item for item in root.links if reads(self.flow, item, link))
        return tuple(dict.fromkeys(name for item in parts for name in self._maker(item)))

    def _outer(self, root: Root) -> bool:
        """Whether a product is one of all elements of two signals, each along dimensions of its own."""
        if root.kind != "product" or len(root.links) != 2:
            return False
        one, other = (self.flow.tape.values[link.value].shape for link in root.links)
        pairs = list(zip(reversed(one), reversed(other), strict=False))
        return any(a > 1 == b for a, b in pairs) and any(b > 1 == a for a, b in pairs)

    # -- back

    def _origin(self, root: Root) -> Origin:
        kind = root.kind
        if kind in ("weight", "embedding") and root.site is not None:
            # An addend inside a contraction, as in torch.addmm, is a second term.
            added = [self.origins[link.root].terms for link in root.links if link.part == "addend"]
            return Origin(kind, root.value, parameter_names(self.flow, root.site.parts), terms=1 + sum(added))
        if kind in _PASSED and root.links:
            links = [link for link in root.links if link.part != "statistic"]
            below = [self.origins[link.root] for link in links]
            pooled = kind == "reduce" or any(word in root.op for word in _POOLS)
            pooled = pooled or any(origin.pooled for origin in below)
            terms = [origin.terms for origin in below]
            many = sum(terms) if kind == "sum" else max(terms)
            if len(links) == 1:
                chain = (*below[0].links, links[0])[-_LONGEST:]
                return Origin(below[0].kind, below[0].root, below[0].names, chain, pooled, many)
            kinds = {origin.kind for origin in below}
            names = _some(name for origin in below for name in origin.names)
            made = {elementwise(self.flow, (*o.links, link)) for o, link in zip(below, links, strict=True)}
            if len(made) > 1 or (made != {None} and kind != "move"):
                return Origin("mixed", root.value, names, (), pooled, many)
            if made != {None} and len(kinds) == 1:
                chain = (*below[0].links, links[0])[-_LONGEST:]
                return Origin(kinds.pop(), below[0].root, names, chain, pooled, many)
            common = kinds.pop() if len(kinds) == 1 else "mixed"
            return Origin(common, root.value, names, (), pooled, many)
        below = [self.origins[link.root] for link in root.links if link.part != "statistic"]
        if kind == "residual":
            return Origin("residual", root.value, below[-1].names)
        if kind == "attention" or root.value in self.mixes:
            return Origin("attention", root.value, below[-1].names if below else ())
        names = _some(name for origin in below for name in origin.names)
        if kind == "generated":
            return Origin(kind, root.value, root.names)
        if root.value in self.linear:
            return Origin("linear_attention", root.value, names)
        if kind == "product" and (mixed := self._divided(root, below)) is not None:
            return Origin("linear_attention", mixed.root, names)
        named = {
            "product": "gate",
            "interaction": "gate",
            "recurrent": "recurrence",
            "learned": "learned",
            "norm": "norm",
        }
        return Origin(named.get(kind, "data"), root.value, names)

    def _divided(self, root: Root, below: list[Origin]) -> Origin | None:
        """What attention without softmax mixed, where a product only brings it to a weighted mean."""
        values = self.flow.tape.values
        size = math.prod(values[root.value].shape)
        for link, origin in zip(root.links, below, strict=False):
            others = [item for item in root.links if item != link]
            small = others and all(math.prod(values[item.value].shape) < size for item in others)
            if origin.kind == "linear_attention" and small:
                return origin
        return None

    # -- forward

    def _into(self, reader: int, link: Link) -> list[End]:
        root = self.flow.roots[reader]
        kind = root.kind
        if link.part == "statistic":
            return []
        if kind in ("weight", "recurrent"):
            return [End("weight", reader, (link,))]
        if kind in ("norm", "residual"):
            return [End(kind, reader, (link,))]
        if reader in self.inner:
            made = link == self.generated[self.inner[reader]]
            return [End("generated" if made else "gate", self.inner[reader], (link,))]
        if reader in self.linear:
            return [End("linear_attention", reader, (link,))]
        if kind == "product":
            return [End("gate", reader, (link,))]
        if reader in self.over_logits:
            # Added to the logits beside the product of queries and keys.
            return [End("attention_logits", reader, (link,))]
        if kind == "attention":
            return [End("attention_mix" if link.part == "value" else "attention_logits", reader, (link,))]
        if kind == "interaction":
            role = "attention_logits" if reader in self.logits else "attention_mix"
            return [End(role if reader in self.logits | self.mixes else "gate", reader, (link,))]
        if kind == "generated":
            return [End(kind if link == self.generated[reader] else "gate", reader, (link,))]
        return [
            End(end.kind, end.target, _shortened((narrowed(self.flow, link, end.links[0]), *end.links)))
            for end in self.ends[reader]
            if reads(self.flow, link, end.links[0])
        ]


def _shortened(links: tuple[Link, ...]) -> tuple[Link, ...]:
    """Links without the middle of a long way; the last one tells where it leads."""
    return links if len(links) <= _LONGEST else (*links[: _LONGEST - 1], links[-1])


def narrowed(flow: Flow, link: Link, read: Link) -> Link:
    """Return a link into a root narrowed to what a reader of that root reads, where the two are aligned."""
    root = flow.roots[read.root]
    shape = flow.tape.values[root.value].shape
    if root.kind not in _ALIGNED or len(link.layout.dims) != len(shape) or read.layout == whole(shape):
        return link
    layout = composed(link.layout, shape, read.layout)
    return link if layout is None else Link(link.root, layout, link.value, link.part)


def walk_back(flow: Flow, links: Iterable[Link], through: set[str]) -> dict[int, list[Link]]:
    """Return the roots reached from links, passing only through some kinds, with the links into each."""
    found: dict[int, list[Link]] = {}
    todo = list(links)
    while todo:
        link = todo.pop()
        known = found.setdefault(link.root, [])
        fresh = all(other.layout != link.layout for other in known) and len(known) < _MOST_ENDS
        known.append(link)
        root = flow.roots[link.root]
        if fresh and root.kind in through:
            todo.extend(narrowed(flow, item, link) for item in root.links if item.part != "statistic")
    return found


def parameter_names(flow: Flow, parts: Iterable[Part]) -> tuple[str, ...]:
    """Return the parameters among parts that are weights, not only scales of weights."""
    listed = list(parts)
    main = [part for part in listed if not part.role] or listed
    return tuple(dict.fromkeys(flow.tape.values[part.leaf].name for part in main))


def _some(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[:_MOST_NAMES]


def _distinct(ends: Iterable[End]) -> tuple[End, ...]:
    seen: dict[tuple[str, int, object], End] = {}
    for end in ends:
        seen.setdefault((end.kind, end.target, (end.links[0].layout, end.links[0].value)), end)
        if len(seen) >= 4 * _MOST_ENDS:
            break
    return tuple(seen.values())
