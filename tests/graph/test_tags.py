"""Which operations work element by element, in torches that tag them and in those that do not yet."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from goodinit.graph import tags
from goodinit.graph.tags import is_pointwise, is_reduction


@pytest.mark.parametrize("name", ["leaky_relu", "leaky_relu_", "hardtanh_", "selu_"])
def test_activations_are_known_without_their_tag(name: str) -> None:
    assert is_pointwise(getattr(torch.ops.aten, name).default)
    assert is_pointwise(SimpleNamespace(tags=(), overloadpacket=f"aten.{name}"))


@pytest.mark.skipif(not hasattr(torch.Tag, "reduction"), reason="this torch has no tag for reductions")
def test_reductions_are_known_without_their_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = [
        getattr(getattr(torch.ops.aten, name), overload or "default")
        for name, _, overload in (
            each.removeprefix("aten::").partition(".")
            for each in torch._C._dispatch_get_all_op_names()
            if each.startswith("aten::")
        )
        if hasattr(getattr(torch.ops.aten, name, None), overload or "default")
    ]
    operations = [each for each in operations if "out" not in each._overloadname]
    told = {str(each) for each in operations if is_reduction(each)}
    assert len(told) > 30
    monkeypatch.setattr(tags, "torch", SimpleNamespace(Tag=SimpleNamespace(pointwise=torch.Tag.pointwise)))
    assert {str(each) for each in operations if is_reduction(each)} == told


def test_products_and_gradients_are_not() -> None:
    assert not is_pointwise(torch.ops.aten.mm.default)
    assert not is_pointwise(SimpleNamespace(tags=(), overloadpacket="aten.leaky_relu_backward"))
    assert not is_pointwise(None)
