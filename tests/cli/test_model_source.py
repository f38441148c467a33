"""MODEL: what it may name, and one clear line for each way in which it may name nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.cli.model_source import load_model
from goodinit.errors import ModelSourceError


@pytest.mark.parametrize(
    "source", ["models.py:mlp", "./models.py:mlp", "models:mlp", "models.py:Makers.mlp", "models:ready"]
)
def test_a_model_is_found_by_file_or_module_and_dotted_name(run: Any, source: str) -> None:
    outcome = run("plan", source, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["goodinit"] == "plan"


def test_a_class_without_required_arguments_is_built(run: Any) -> None:
    assert type(load_model("models.py:Scaled")).__name__ == "Scaled"


def test_a_file_may_import_its_neighbours(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "neighbour_of_main.py").write_text("WIDTH = 5\n")
    (folder / "main.py").write_text(
        "from torch import nn\nfrom neighbour_of_main import WIDTH\ndef build(): return nn.Linear(WIDTH, 1)\n"
    )
    made = load_model("elsewhere/main.py:build")
    assert isinstance(made, nn.Linear)
    assert made.in_features == 5


def test_a_file_called_like_a_loaded_module_does_not_replace_it(run: Any, tmp_path: Path) -> None:
    import click

    (tmp_path / "click.py").write_text("from torch import nn\ndef build(): return nn.Linear(2, 1)\n")
    assert isinstance(load_model("click.py:build"), nn.Linear)
    assert sys.modules["click"] is click


def test_a_model_is_built_from_its_seed(run: Any) -> None:
    first, again, other = (load_model("models.py:Scaled", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.scale, again.scale)
    assert not torch.equal(first.scale, other.scale)


BAD = {
    "no such file": ("nofile.py:build", "nofile.py:build: no file nofile.py"),
    "misspelt file": ("model.py:mlp", "no file model.py (did you mean 'models.py'?)"),
    "a folder": ("./:mlp", "is a folder; name a file in it"),
    "no callable named": ("models.py", "which callable? Write models.py:NAME; it has mlp, deep, tokens"),
    "misspelt callable": ("models.py:mpl", "models.py has no 'mpl' (did you mean 'mlp'?); it has mlp"),
    "misspelt method": ("models.py:Makers.mpl", "Makers has no 'mpl' (did you mean 'mlp'?)"),
    "needs arguments": (
        "models.py:needs",
        "needs() needs arguments (width); name a callable that needs none",
    ),
    "returns no module": ("models.py:returns_dict", "returned a dict; it must return a torch.nn.Module"),
    "no callable": ("models.py:number", "number is an int, neither a torch.nn.Module nor a callable"),
    "raises": ("models.py:fails", "fails() raised ValueError: sizes do [not] match (models.py, line 52)"),
    "no such module": ("no_package.inner:build", "no module 'no_package.inner' here or on sys.path"),
    "file without its ending": ("models", "which callable? Write models:NAME"),
    "nonsense": ("a b", "'a b' is neither a module nor a file"),
    "empty": ("", "a model is named as package.module:callable"),
}


@pytest.mark.parametrize(("source", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_source_gets_one_line_and_exit_code_2(run: Any, source: str, message: str) -> None:
    outcome = run("plan", source)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.line.startswith(f"goodinit: {source}: ")
    assert message in outcome.line


BROKEN = {
    "syntax": ("def build(:\n", "importing broken.py raised SyntaxError: invalid syntax (broken.py, line 1)"),
    "missing import": (
        "\nimport no_such_library\n",
        "raised ModuleNotFoundError: No module named 'no_such_library' (broken.py, line 2)",
    ),
    "exits": ("import sys\nsys.exit(3)\n", "raised SystemExit: 3 (broken.py, line 2)"),
    "empty": ("", "broken.py has no 'build'; it holds no function and no model"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_gets_one_line_that_says_where(
    run: Any, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "broken.py").write_text(text)
    outcome = run("plan", "broken.py:build")
    assert outcome.code == 2
    assert message in outcome.line


def test_a_module_whose_own_import_fails_is_not_called_missing(run: Any, tmp_path: Path) -> None:
    (tmp_path / "imports_nothing.py").write_text("import no_such_library\n")
    assert "importing imports_nothing raised ModuleNotFoundError" in run("plan", "imports_nothing:x").line


def test_traceback_shows_the_users_own_lines(run: Any) -> None:
    plain, traced = run("plan", "models.py:fails"), run("plan", "models.py:fails", "--traceback")
    assert plain.code == traced.code == 2
    assert "Traceback" not in plain.err
    assert "Traceback" in traced.err
    assert 'raise ValueError("sizes' in traced.err


TINY = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 23,
    "max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("extra", "kind"),
    [({}, "LlamaForCausalLM"), ({"architectures": ["LlamaModel"]}, "LlamaModel")],
)
def test_a_transformers_configuration_is_built(
    run: Any, tmp_path: Path, extra: dict[str, Any], kind: str
) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({**TINY, **extra}))
    for source in ("transformers:config.json", f"transformers:{tmp_path}"):
        assert type(load_model(source)).__name__ == kind
    outcome = run("check", "transformers:config.json", "--json")
    assert outcome.code in (0, 1), outcome.err
    assert json.loads(outcome.out)["model"] == kind


def test_a_type_without_a_language_model_is_built_as_its_bare_model(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    fields = {
        "model_type": "vit",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert type(load_model("transformers:config.json")).__name__ == "ViTModel"


TRANSFORMERS = {
    "misspelt type": ("gtp2", "has no model type 'gtp2' (did you mean 'gpt2'?)"),
    "a name on a hub": ("openai-community/gpt2", "nothing is downloaded: give a model type or a config.json"),
    "nothing": ("", "which model? For example transformers:gpt2"),
    "no file": ("no/config.json", "no file no/config.json"),
    "no JSON": ("text.json", "text.json is no readable JSON"),
    "no type": ("typeless.json", 'it has no "model_type"'),
    "impossible": ("impossible.json", "building it raised"),
}


@pytest.mark.parametrize(("name", "message"), TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_a_bad_transformers_source_gets_one_line(run: Any, tmp_path: Path, name: str, message: str) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "typeless.json").write_text('{"hidden_size": 3}')
    (tmp_path / "impossible.json").write_text(json.dumps({**TINY, "hidden_size": -7}))
    outcome = run("plan", f"transformers:{name}")
    assert outcome.code == 2
    assert outcome.line.startswith(f"goodinit: transformers:{name}: ")
    assert message in outcome.line


@pytest.mark.parametrize(
    ("source", "cure"),
    [("transformers:gpt2", "pip install 'goodinit[transformers]'"), ("timm:resnet18", "pip install timm")],
)
def test_an_absent_library_is_said_with_its_cure(
    run: Any, monkeypatch: pytest.MonkeyPatch, source: str, cure: str
) -> None:
    monkeypatch.setitem(sys.modules, source.split(":")[0], None)
    outcome = run("plan", source)
    assert outcome.code == 2
    assert outcome.line.endswith(f"is not installed; {cure}")


def test_timm_models_are_built_without_their_weights(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that has timm's three functions, as timm itself need not be installed."""
    asked: list[Any] = []

    def create(name: str, *, pretrained: bool) -> nn.Module:
        asked.append((name, pretrained))
        return nn.Linear(2, 2)

    stand_in = SimpleNamespace(
        __version__="1",
        is_model=lambda n: n == "resnet18",
        list_models=lambda: ["resnet18"],
        create_model=create,
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    assert isinstance(load_model("timm:resnet18"), nn.Linear)
    assert asked == [("resnet18", False)]
    with pytest.raises(ModelSourceError, match=r"no model 'resnet81' \(did you mean 'resnet18'\?\)"):
        load_model("timm:resnet81")
