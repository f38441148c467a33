"""Models of the transformers and timm libraries by name, built from their configuration alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodinit.errors import ModelSourceError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = ["from_timm", "from_transformers"]


def from_transformers(name: str) -> nn.Module:
    """Build a model of the transformers library, its values drawn by that library. Nothing is downloaded.

    The class is the one that a configuration file names under ``architectures``, else
    the causal language model of the type, else its bare model.

    Args:
        name: a model type (``gpt2``), a configuration file, or a folder with a ``config.json``.

    Raises:
        ModelSourceError: if the library is absent, or the type or file cannot be used.
    """
    source = f"transformers:{name}"
    # Building from a configuration needs nothing from a hub; with these set it cannot ask.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ModelSourceError(
            f"{source}: the transformers library is not installed; pip install 'goodinit[transformers]'"
        ) from error
    if not name:
        raise ModelSourceError(f"{source}: which model? For example transformers:gpt2")
    fields = _fields(source, name)
    kind = fields.pop("model_type")
    known = transformers.CONFIG_MAPPING
    if kind not in known:
        raise ModelSourceError(
            f"{source}: transformers {transformers.__version__} has no model type {kind!r}"
            f"{did_you_mean(str(kind), known.keys())}{_no_hub(name)}"
        )
    config = known[kind].from_dict(fields)
    named = [getattr(transformers, each, None) for each in config.architectures or ()]
    if named and named[0] is not None:
        return named[0](config)  # type: ignore[no-any-return]
    causal = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    family: Any = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    return family.from_config(config)  # type: ignore[no-any-return]


def _no_hub(name: str) -> str:
    if "/" not in name:
        return ""
    return "; names on a hub are not looked up, as nothing is downloaded: give a model type or a config.json"


def _fields(source: str, name: str) -> dict[str, Any]:
    """Return the fields of a configuration file, or the model type alone."""
    inside = Path(name) / "config.json"
    file = inside if inside.is_file() else Path(name)
    if file.suffix != ".json":
        return {"model_type": name}
    if not file.is_file():
        raise ModelSourceError(f"{source}: no file {file}")
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelSourceError(f"{source}: {file} is no readable JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):
        raise ModelSourceError(
            f'{source}: {file} is no configuration of a transformers model: it has no "model_type"'
        )
    return fields


def from_timm(name: str) -> nn.Module:
    """Build a model of the timm library, its values drawn by that library. Nothing is downloaded.

    Args:
        name: the model's name, such as ``resnet18``.

    Raises:
        ModelSourceError: if the library is absent, or has no such model.
    """
    source = f"timm:{name}"
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModelSourceError(f"{source}: the timm library is not installed; pip install timm") from error
    if not timm.is_model(name):
        raise ModelSourceError(
            f"{source}: timm {timm.__version__} has no model {name!r}{did_you_mean(name, timm.list_models())}"
        )
    return timm.create_model(name, pretrained=False)  # type: ignore[no-any-return]
