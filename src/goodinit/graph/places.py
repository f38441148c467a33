"""Parameters under their canonical names, with every place that registers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

__all__ = ["Place", "Use", "canonical_keys", "canonical_modules", "kind", "places", "unwrapped"]

# Wrappers that put their own name between a model and its parameters. `module` is an
# ordinary attribute name too, so it counts only below the wrappers that are known to use it.
_WRAPPED = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_WRAPPERS_BY_MODULE = {"DataParallel", "DistributedDataParallel"}


@dataclass(frozen=True)
class Use:
    """One registration of a parameter.

    Attributes:
        module: the module that owns it.
        module_name: that module's canonical name, ``""`` for the root.
        local: the attribute name in that module, such as ``"weight"``.
        ancestors: the modules that contain `module`, root first.
    """

    module: nn.Module
    module_name: str
    local: str
    ancestors: tuple[nn.Module, ...]

    @property
    def name(self) -> str:
        """The canonical dotted name."""
        return f"{self.module_name}.{self.local}" if self.module_name else self.local


@dataclass(frozen=True)
class Place:
    """One parameter: its name, the first registered one, and all its uses (more than one if tied)."""

    parameter: nn.Parameter
    uses: tuple[Use, ...]

    @property
    def name(self) -> str:
        """The first registered canonical name."""
        return self.uses[0].name

    @property
    def aliases(self) -> tuple[str, ...]:
        """The other names of a tied parameter."""
        return tuple(use.name for use in self.uses[1:])


def canonical_keys(names: Iterable[str]) -> dict[str, str]:
    """Return {canonical name: name} for the keys of a state dict, whatever wrapped the model that made it.

    >>> canonical_keys(["module._orig_mod.0.weight", "module._orig_mod.0.bias"])
    {'0.weight': 'module._orig_mod.0.weight', '0.bias': 'module._orig_mod.0.bias'}
    """
    bare = {name: [part for part in name.split(".") if part not in _WRAPPED] for name in names}
    while bare and all(len(parts) > 1 and parts[0] == "module" for parts in bare.values()):
        bare = {name: parts[1:] for name, parts in bare.items()}
    return {".".join(parts): name for name, parts in bare.items()}


def _wraps(module: nn.Module, child_name: str) -> bool:
    return child_name in _WRAPPED or (child_name == "module" and type(module).__name__ in _WRAPPERS_BY_MODULE)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside the wrappers whose names `places` leaves out.

    >>> type(unwrapped(nn.DataParallel(nn.Linear(2, 2)))).__name__
    'Linear'
    """
    for child_name, child in model._modules.items():
        if child is not None and _wraps(model, child_name):
            return unwrapped(child)
    return model


def kind(module: nn.Module) -> str:
    """Return the name of the class that the author wrote, not of what FSDP or a parametrization made of it.

    >>> kind(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    'Linear'
    """
    made = [each for each in type(module).__mro__ if not each.__module__.startswith("torch.distributed")]
    name, *bases = (each.__name__ for each in made)
    return bases[0] if bases and name == f"Parametrized{bases[0]}" else name


def canonical_modules(
    module: nn.Module, name: str = "", ancestors: tuple[nn.Module, ...] = ()
) -> Iterator[tuple[str, nn.Module, tuple[nn.Module, ...]]]:
    """Yield (canonical name, module, ancestors) for every registration, wrappers left out of the names.

    A module that is registered twice is yielded twice: its parameters are tied.
    """
    yield name, module, ancestors
    for child_name, child in module._modules.items():
        if child is None or child in ancestors or child is module:
            continue
        below = name if _wraps(module, child_name) else f"{name}.{child_name}" if name else child_name
        yield from canonical_modules(child, below, (*ancestors, module))


def places(model: nn.Module) -> tuple[Place, ...]:
    """Return every parameter of a model once, in order of registration.

    Args:
        model: any module, wrapped by ``torch.compile`` or data parallelism or not.

    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    >>> model[1].weight = model[0].weight
    >>> [(place.name, place.aliases) for place in places(model)]
    [('0.weight', ('1.weight',))]
    """
    uses: dict[int, list[Use]] = {}
    parameters: dict[int, nn.Parameter] = {}
    for module_name, module, ancestors in canonical_modules(model):
        for local, parameter in module._parameters.items():
            if parameter is not None:
                parameters[id(parameter)] = parameter
                uses.setdefault(id(parameter), []).append(Use(module, module_name, local, ancestors))
    return tuple(Place(parameters[key], tuple(found)) for key, found in uses.items())
