"""What of a cure can be copied."""

from __future__ import annotations

import dataclasses
from typing import Any

from goodinit.report.html.cards import card


def test_a_statement_within_a_cure_is_copied_whole(found: Any) -> None:
    freeze = "for name in ('a', 'b(c)'): model.get_parameter(name).requires_grad_(False)"
    zero = "with torch.no_grad(): (e := model.get_submodule('e')).weight[e.padding_idx].zero_()"
    normal = "for name in ('a',): torch.nn.init.normal_(model.get_parameter(name))"
    for cure, snippets in (
        (f"use it, or freeze it: {freeze}", (freeze,)),
        (zero, (zero,)),
        (f"draw it: {normal}; then goodinit.initialize(model)", (normal, "goodinit.initialize(model)")),
        (
            f"what goodinit.initialize(model) keeps: {normal}; then goodinit.initialize(model)",
            (normal, "goodinit.initialize(model)"),
        ),
        ("look for .detach() or a mask", ()),
    ):
        made = card(dataclasses.replace(found(), cure=cure), None)
        assert made.snippets == snippets
        assert made.cure == ("" if cure == zero else cure)
