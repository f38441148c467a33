"""Weights in files: whole or not at all, tied once, errors with the file's name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.errors import CheckpointError
from goodinit.plans import initialize, load_weights, save_weights


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Embedding(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False))
    model[2].weight = model[0].weight
    return model


def test_what_is_saved_is_read_back_under_every_name(tmp_path) -> None:
    model = tied()
    initialize(model)
    path = save_weights(model, tmp_path / "w.safetensors", about={"seed": "0"})
    read = load_weights(path)
    assert read.keys() == dict(model.state_dict()).keys()
    assert all(torch.equal(read[name], value) for name, value in model.state_dict().items())


def test_the_file_loads_into_the_model_that_made_it(tmp_path) -> None:
    first, second = tied(), tied()
    initialize(first, seed=1)
    second.load_state_dict(load_weights(save_weights(first, tmp_path / "w.safetensors")))
    assert torch.equal(first[0].weight, second[2].weight)


def test_views_of_one_memory_are_saved_apart(tmp_path) -> None:
    model = nn.Module()
    memory = torch.arange(6.0)
    model.a, model.b = nn.Parameter(memory[:3]), nn.Parameter(memory[2:])
    read = load_weights(save_weights(model, tmp_path / "w.safetensors"))
    assert torch.equal(read["a"], memory[:3])
    assert torch.equal(read["b"], memory[2:])


def test_strided_and_low_precision_weights_are_saved(tmp_path) -> None:
    layer = nn.Linear(4, 3).to(torch.bfloat16)
    layer.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.bfloat16).T)
    read = load_weights(save_weights(layer, tmp_path / "w.safetensors"))
    assert torch.equal(read["weight"], layer.weight)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch) -> None:
    path = save_weights(tied(), tmp_path / "w.safetensors")
    before = path.read_bytes()

    def half(tensors, target, metadata) -> None:
        target.write_bytes(b"half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        save_weights(tied(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_torch_files_are_read_too(tmp_path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    assert load_weights(tmp_path / "w.pt")["bias"].shape == (2,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.safetensors", None, "no file .*missing.safetensors"),
        ("bad.safetensors", b"not a checkpoint", "bad.safetensors is no readable safetensors file"),
        ("empty.safetensors", b"", "empty.safetensors is no readable safetensors file"),
        ("bad.pt", b"not a checkpoint", "bad.pt is damaged, or holds more than tensors$"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_weights(tmp_path / name)


def test_a_torch_file_without_a_state_dict_is_refused(tmp_path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_weights(tmp_path / "list.pt")


def test_meta_weights_and_unwritable_places_are_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="weight is on the meta device"):
        save_weights(nn.Linear(2, 2, device="meta"), tmp_path / "w.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_weights(nn.Linear(2, 2), tmp_path / "file" / "w.safetensors")


@pytest.mark.parametrize("aliases", ["[1]", "{", '{"b": ["a"]}', '{"b": 5}', "[" * 50_000])
def test_metadata_of_other_programs_is_left_alone(tmp_path, aliases: str) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, file, metadata={"aliases": aliases})
    assert load_weights(file).keys() == {"a"}
