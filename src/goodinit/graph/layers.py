"""Fans without an example: from the type and settings of torch's own layers, or guessed from a shape."""

from __future__ import annotations

from torch import nn

from goodinit.theory.fans import (
    Fans,
    bilinear_fans,
    conv_fans,
    conv_transpose_fans,
    linear_fans,
    shape_fans,
)

__all__ = ["Fans", "conv1d_like", "module_fans", "shape_fans"]


def conv1d_like(module: nn.Module) -> bool:
    """Tell whether a module is a linear layer stored transposed, as in GPT-2: ``x @ weight``.

    Recognised by the name and the attributes of its class, so that the library
    which defines it need not be imported.
    """
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and not isinstance(module, nn.Conv1d)


def module_fans(module: nn.Module) -> Fans | None:
    """Return the fans of ``module.weight``, or None for a module whose weight is no linear map.

    >>> module_fans(nn.Conv2d(8, 8, 3, groups=8))
    Fans(fan_in=9.0, fan_out=9.0)
    """
    if isinstance(module, nn.Linear):
        return linear_fans(module.out_features, module.in_features)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return conv_transpose_fans(
            module.in_channels, module.out_channels, module.kernel_size, module.groups, module.stride
        )
    if isinstance(module, nn.modules.conv._ConvNd):
        return conv_fans(
            module.in_channels, module.out_channels, module.kernel_size, module.groups, module.stride
        )
    if isinstance(module, nn.Bilinear):
        return bilinear_fans(module.in1_features, module.in2_features, module.out_features)
    # A scripted module holds its parameters in a mapping without `get`.
    weight = getattr(module, "weight", None) if "weight" in module._parameters else None
    if conv1d_like(module) and weight is not None:
        in_features, out_features = weight.shape
        return linear_fans(out_features, in_features)
    return None
