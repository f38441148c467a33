"""`goodinit.init` keeps the contract of ``torch.nn.init``: names, signatures, errors, warnings, returns."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from goodinit import init

# Torch 2.7 has no list of them.
NAMES = [
    name
    for name, each in vars(torch.nn.init).items()
    if inspect.isfunction(each) and each.__module__ == torch.nn.init.__name__ and not name.startswith("_")
]
ALIASES = [name for name in NAMES if f"{name}_" in NAMES]
FILLS = [name for name in NAMES if name.endswith("_")]
DRAWS = [name for name in FILLS if "generator" in inspect.signature(getattr(torch.nn.init, name)).parameters]
PRIVATE = [
    "_calculate_correct_fan",
    "_calculate_fan_in_and_fan_out",
    "_make_deprecate",
    "_no_grad_fill_",
    "_no_grad_normal_",
    "_no_grad_trunc_normal_",
    "_no_grad_uniform_",
    "_no_grad_zero_",
]
# What a call needs beyond the tensor.
NEEDS = {"constant_": (0.5,), "sparse_": (0.5,)}
SHAPES = {"dirac_": (4, 2, 3)}


def a_tensor(name: str, **options: Any) -> torch.Tensor:
    return torch.empty(SHAPES.get(name, (4, 6)), **options)


def call(module: Any, name: str, tensor: Any, *args: Any, **kwargs: Any) -> Any:
    return getattr(module, name)(tensor, *(args or NEEDS.get(name, ())), **kwargs)


def missing_names(ours: Any, theirs: list[str]) -> list[str]:
    return [name for name in theirs if name not in ours.__all__ or not hasattr(ours, name)]


def test_every_public_name_of_torch_is_here_whatever_the_version() -> None:
    assert missing_names(init, NAMES) == []
    assert missing_names(init, [*NAMES, "a_new_law_"]) == ["a_new_law_"]  # planted


def test_the_private_names_that_others_import_are_here() -> None:
    assert [name for name in PRIVATE if not callable(getattr(init, name, None))] == []


@pytest.mark.parametrize("name", [*NAMES, *PRIVATE])
def test_the_signature_is_that_of_torch(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(m, name)) for m in (init, torch.nn.init))
    as_called = [(p.name, p.kind, p.default) for p in ours.parameters.values()]
    assert as_called == [(p.name, p.kind, p.default) for p in theirs.parameters.values()]
    if torch.__version__.startswith("2.13.") and name not in ("_make_deprecate", "_no_grad_trunc_normal_"):
        assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_every_public_function_is_documented_and_named(name: str) -> None:
    function = getattr(init, name)
    assert function.__name__ == name
    assert inspect.getdoc(function)
    assert ">>>" in function.__doc__ or name in ALIASES


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("wrap", [lambda t: t, torch.nn.Parameter])
def test_a_fill_returns_the_tensor_that_it_was_given(name: str, wrap: Callable[[Any], Any]) -> None:
    tensor = wrap(a_tensor(name))
    assert call(init, name, tensor) is tensor


@pytest.mark.parametrize("name", FILLS)
def test_a_fill_accepts_a_leaf_that_requires_grad_and_records_nothing(name: str) -> None:
    parameter = torch.nn.Parameter(a_tensor(name))
    before = parameter._version
    call(init, name, parameter)
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    # Autograd finds out by the version that a saved tensor was overwritten.
    assert parameter._version > before
    with pytest.raises(RuntimeError, match="leaf Variable"):  # planted: what no_grad prevents
        parameter.fill_(0.0)


BAD_CALLS: dict[str, Callable[[Any], Any]] = {
    "uniform from > to": lambda m: m.uniform_(torch.empty(3), 2.0, 1.0),
    "uniform bound is text": lambda m: m.uniform_(torch.empty(3), "a"),
    "uniform bound is infinite": lambda m: m.uniform_(torch.empty(3), 0.0, math.inf),
    "uniform bound is nan": lambda m: m.uniform_(torch.empty(3), math.nan, 1.0),
    "uniform bound beyond half": lambda m: m.uniform_(torch.empty(3, dtype=torch.half), 0.0, 1e6),
    "uniform generator is a number": lambda m: m.uniform_(torch.empty(3), generator=5),
    "uniform of int": lambda m: m.uniform_(torch.empty(3, dtype=torch.int32)),
    "uniform of bool": lambda m: m.uniform_(torch.empty(3, dtype=torch.bool)),
    "uniform of a list": lambda m: m.uniform_([1.0]),
    "uniform of nothing": lambda m: m.uniform_(None),
    "uniform of an expanded tensor": lambda m: m.uniform_(torch.empty(1).expand(3)),
    "uniform of sparse": lambda m: m.uniform_(torch.eye(3).to_sparse()),
    "uniform with no such argument": lambda m: m.uniform_(torch.empty(3), low=0.0),
    "uniform of packed pairs": lambda m: m.uniform_(torch.empty(3, dtype=torch.float4_e2m1fn_x2)),
    "uniform of scales": lambda m: m.uniform_(torch.empty(3, dtype=torch.float8_e8m0fnu)),
    "normal of scales": lambda m: m.normal_(torch.empty(3, dtype=torch.float8_e8m0fnu)),
    "normal std < 0": lambda m: m.normal_(torch.empty(3), 0.0, -1.0),
    "normal std < 0, no elements": lambda m: m.normal_(torch.empty(0), 0.0, -1.0),
    "normal std is nan": lambda m: m.normal_(torch.empty(3), 0.0, math.nan),
    "normal std is text": lambda m: m.normal_(torch.empty(3), 0.0, "1"),
    "normal of int64": lambda m: m.normal_(torch.empty(3, dtype=torch.int64)),
    "normal of an expanded tensor": lambda m: m.normal_(torch.empty(1).expand(3)),
    "trunc_normal std = 0": lambda m: m.trunc_normal_(torch.empty(3), 0.0, 0.0),
    "trunc_normal std is text": lambda m: m.trunc_normal_(torch.empty(3), 0.0, "a"),
    "trunc_normal a > b": lambda m: m.trunc_normal_(torch.empty(3), 0.0, 1.0, 2.0, 1.0),
    "trunc_normal of int": lambda m: m.trunc_normal_(torch.empty(3, dtype=torch.int32)),
    "trunc_normal of complex": lambda m: m.trunc_normal_(torch.empty(3, dtype=torch.complex64)),
    "trunc_normal of an expanded tensor": lambda m: m.trunc_normal_(torch.empty(1).expand(3)),
    "trunc_normal generator is a number": lambda m: m.trunc_normal_(torch.empty(3), generator=5),
    "trunc_normal of a list": lambda m: m.trunc_normal_([1.0]),
    "constant is text": lambda m: m.constant_(torch.empty(3), "a"),
    "constant is absent": lambda m: m.constant_(torch.empty(3)),
    "constant of a list": lambda m: m.constant_([1.0], 1.0),
    "ones of a list": lambda m: m.ones_([1.0]),
    "zeros of a list": lambda m: m.zeros_([1.0]),
    "eye of a vector": lambda m: m.eye_(torch.empty(3)),
    "eye of 3 dimensions": lambda m: m.eye_(torch.empty(3, 3, 3)),
    "eye of a list": lambda m: m.eye_([1.0]),
    "dirac of a matrix": lambda m: m.dirac_(torch.empty(3, 3)),
    "dirac of 6 dimensions": lambda m: m.dirac_(torch.empty(1, 1, 1, 1, 1, 1)),
    "dirac groups do not divide": lambda m: m.dirac_(torch.empty(4, 2, 3), 3),
    "dirac no groups": lambda m: m.dirac_(torch.empty(4, 2, 3), 0),
    "dirac groups is a float": lambda m: m.dirac_(torch.empty(4, 2, 3), 2.0),
    "xavier_uniform of a vector": lambda m: m.xavier_uniform_(torch.empty(3)),
    "xavier_uniform of a scalar": lambda m: m.xavier_uniform_(torch.empty(())),
    "xavier_uniform gain < 0": lambda m: m.xavier_uniform_(torch.empty(2, 3), -1.0),
    "xavier_uniform of int": lambda m: m.xavier_uniform_(torch.empty(2, 3, dtype=torch.int32)),
    "xavier_uniform of nothing": lambda m: m.xavier_uniform_(None),
    "xavier_normal of a vector": lambda m: m.xavier_normal_(torch.empty(3)),
    "xavier_normal gain < 0": lambda m: m.xavier_normal_(torch.empty(2, 3), -1.0),
    "kaiming_uniform of a vector": lambda m: m.kaiming_uniform_(torch.empty(3)),
    "kaiming_uniform mode": lambda m: m.kaiming_uniform_(torch.empty(2, 3), mode="fan_mid"),
    "kaiming_uniform mode is a number": lambda m: m.kaiming_uniform_(torch.empty(2, 3), mode=1),
    "kaiming_uniform nonlinearity": lambda m: m.kaiming_uniform_(torch.empty(2, 3), nonlinearity="q"),
    "kaiming_uniform slope": lambda m: m.kaiming_uniform_(torch.empty(2, 3), a="x"),
    "kaiming_normal of a vector": lambda m: m.kaiming_normal_(torch.empty(3)),
    "kaiming_normal slope is true": lambda m: m.kaiming_normal_(torch.empty(2, 3), a=True),
    "kaiming_normal of bool": lambda m: m.kaiming_normal_(torch.empty(2, 3, dtype=torch.bool)),
    "orthogonal of a vector": lambda m: m.orthogonal_(torch.empty(3)),
    "orthogonal gain is text": lambda m: m.orthogonal_(torch.empty(3, 3), "a"),
    "orthogonal of int": lambda m: m.orthogonal_(torch.empty(3, 3, dtype=torch.int32)),
    "orthogonal of complex": lambda m: m.orthogonal_(torch.empty(3, 3, dtype=torch.complex64)),
    "orthogonal of an expanded tensor": lambda m: m.orthogonal_(torch.empty(1, 1).expand(3, 3)),
    "sparse of a vector": lambda m: m.sparse_(torch.empty(3), 0.5),
    "sparse std < 0": lambda m: m.sparse_(torch.empty(3, 3), 0.5, -1.0),
    "sparse share is nan": lambda m: m.sparse_(torch.empty(3, 3), math.nan),
    "sparse share is infinite": lambda m: m.sparse_(torch.empty(3, 3), math.inf),
    "sparse share is text": lambda m: m.sparse_(torch.empty(3, 3), "a"),
    "sparse share is absent": lambda m: m.sparse_(torch.empty(3, 3)),
    "sparse of int": lambda m: m.sparse_(torch.empty(3, 3, dtype=torch.int32), 0.5),
    "gain of no such name": lambda m: m.calculate_gain("qqqqqqqq"),
    "gain of a number": lambda m: m.calculate_gain(3),
    "gain of nothing": lambda m: m.calculate_gain(None),
    "gain of a list": lambda m: m.calculate_gain([1]),
    "gain slope is true": lambda m: m.calculate_gain("leaky_relu", True),
    "gain slope is a list": lambda m: m.calculate_gain("leaky_relu", [1]),
    "fans of a vector": lambda m: m._calculate_fan_in_and_fan_out(torch.empty(3)),
    "fan of a mode": lambda m: m._calculate_correct_fan(torch.empty(3, 3), "x"),
    "alias passes errors on": lambda m: m.eye(torch.empty(3)),
    "uninitialized": lambda m: m.uniform_(torch.nn.UninitializedParameter()),
    "uninitialized fans": lambda m: m.xavier_normal_(torch.nn.UninitializedParameter()),
}


def failure(module: Any, bad_call: Callable[[Any], Any]) -> Exception:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bad_call(module)
        except Exception as error:
            return error
    raise AssertionError(f"{module.__name__} did not refuse this call")


def same_failure(ours: Exception, theirs: Exception) -> bool:
    # A function in a message carries its address.
    words = [str(error).split(" at 0x")[0] for error in (ours, theirs)]
    return isinstance(ours, type(theirs)) and words[0] == words[1]


@pytest.mark.parametrize("bad_call", BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_a_mistake_gets_the_error_and_the_words_of_torch(bad_call: Callable[[Any], Any]) -> None:
    ours, theirs = failure(init, bad_call), failure(torch.nn.init, bad_call)
    assert same_failure(ours, theirs), f"{ours!r} is not {theirs!r}"


def test_a_wrong_type_or_wrong_words_are_told_apart() -> None:
    assert not same_failure(ValueError("a"), TypeError("a"))
    assert not same_failure(ValueError("a"), ValueError("b"))
    with pytest.raises(AssertionError, match="did not refuse"):
        failure(init, lambda m: m.ones_(torch.empty(3)))


WARNING_CALLS: dict[str, Callable[[Any], Any]] = {
    "kaiming_uniform of no elements": lambda m: m.kaiming_uniform_(torch.empty(0, 3)),
    "kaiming_normal of no elements": lambda m: m.kaiming_normal_(torch.empty(3, 0)),
    "trunc_normal far out": lambda m: m.trunc_normal_(torch.empty(3), 0.0, 1.0, 3.0, 4.0),
    "trunc_normal as usual": lambda m: m.trunc_normal_(torch.empty(3)),
    "trunc_normal far out on meta": lambda m: m.trunc_normal_(torch.empty(3, device="meta"), a=3.0, b=4.0),
    **{f"alias {name}": lambda m, name=name: call(m, name, a_tensor(f"{name}_"), *NEEDS.get(f"{name}_", ()))
       for name in ALIASES},
}  # fmt: skip


def warned(module: Any, noisy_call: Callable[[Any], Any]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        noisy_call(module)
    return caught


@pytest.mark.parametrize("noisy_call", WARNING_CALLS.values(), ids=WARNING_CALLS.keys())
def test_a_warning_is_that_of_torch_and_points_to_the_caller(noisy_call: Callable[[Any], Any]) -> None:
    ours, theirs = warned(init, noisy_call), warned(torch.nn.init, noisy_call)
    assert [(w.category, str(w.message)) for w in ours] == [(w.category, str(w.message)) for w in theirs]
    assert {w.filename for w in ours} <= {__file__}


def test_every_alias_warns() -> None:
    assert ALIASES
    for name in ALIASES:
        (warning,) = warned(init, WARNING_CALLS[f"alias {name}"])
        assert warning.category is FutureWarning


@pytest.mark.parametrize("name", ["uniform_", "normal_", "constant_", "kaiming_uniform_"])
def test_a_tensor_subclass_may_take_over(name: str) -> None:
    class Recorder(torch.Tensor):
        seen: list[tuple[Any, dict[str, Any]]] = []  # noqa: RUF012 - the test's own record

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.seen.append((func, kwargs or {}))
            return "taken over"

    tensor = torch.empty(2, 2).as_subclass(Recorder)
    assert call(init, name, tensor) == "taken over"
    ((function, arguments),) = Recorder.seen
    assert function is getattr(init, name)
    assert list(arguments) == list(inspect.signature(function).parameters)


def test_a_plain_subclass_is_filled() -> None:
    class Plain(torch.Tensor):
        pass

    tensor = torch.zeros(2, 2).as_subclass(Plain)
    for name in ("uniform_", "normal_", "trunc_normal_", "orthogonal_", "kaiming_normal_"):
        tensor.zero_()
        assert call(init, name, tensor) is tensor
        assert tensor.count_nonzero() == 4


def test_a_fill_works_under_a_device_context() -> None:
    tensor = torch.zeros(3, 3)
    with torch.device("meta"):
        init.uniform_(tensor)
        init.orthogonal_(tensor)
    assert tensor.count_nonzero() > 0


def test_fake_tensors_pass_through() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        for name in FILLS:
            tensor = torch.nn.Parameter(a_tensor(name))
            assert call(init, name, tensor) is tensor


def test_traced_code_keeps_working() -> None:
    def fill(tensor: torch.Tensor) -> torch.Tensor:
        init.kaiming_uniform_(tensor)
        init.trunc_normal_(tensor, a=-1.0, b=1.0)
        return init.orthogonal_(tensor)

    square = torch.compile(fill, backend="eager")(torch.empty(4, 4))
    torch.testing.assert_close(square @ square.T, torch.eye(4))
    many = torch.func.vmap(init.normal_, randomness="different")(torch.zeros(2, 3))
    assert many.count_nonzero() == 6


@pytest.mark.parametrize("name", FILLS)
def test_a_meta_tensor_is_left_alone_and_draws_nothing(name: str) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    tensor = a_tensor(name, device="meta")
    assert call(init, name, tensor) is tensor
    assert tensor.is_meta
    assert torch.equal(torch.get_rng_state(), state)
    if name in DRAWS:
        call(init, name, a_tensor(name))
        assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (float("nan"), 1.0), (-1e39, 1.0)])
def test_bounds_that_torch_refuses_are_refused_for_complex_tensors_too(a: float, b: float) -> None:
    for module in (torch.nn.init, init):
        with pytest.raises(RuntimeError):
            module.uniform_(torch.empty(2, dtype=torch.complex64), a, b)


def test_a_meta_tensor_takes_any_bounds_as_in_torch() -> None:
    for module in (torch.nn.init, init):
        assert module.uniform_(torch.empty(2, device="meta"), -1e39, 1.0).is_meta


def test_a_large_tensor_can_be_filled_under_inference_mode() -> None:
    with torch.inference_mode():
        assert init.normal_(torch.empty(700, 700)).isfinite().all()
