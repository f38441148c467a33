"""The journal: a folder from which a run that was killed goes on, to the same bits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from goodinit.comparing.members import State
from goodinit.errors import ArgumentError
from goodinit.files import write_beside
from goodinit.records.comparisons import MemberRun
from goodinit.records.form import from_jsonable, to_jsonable

__all__ = ["Journal", "Snapshot", "open_journal"]


@dataclass(frozen=True)
class Snapshot:
    """A chunk on its way.

    Attributes:
        step: steps done.
        state: of the members after them.
        scores: float64 of shape (evaluations done, 3, members): train, test, metric.
    """

    step: int
    state: State
    scores: torch.Tensor


@dataclass(frozen=True)
class Journal:
    """A folder with `header.json`, and for each chunk its result or its latest snapshot.

    Every file is replaced as a whole, so a kill at any moment leaves the one before.
    """

    folder: Path

    def result(self, chunk: int) -> tuple[MemberRun, ...] | None:
        """Return the members of a finished chunk."""
        try:
            rows = json.loads(self._result(chunk).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return tuple(from_jsonable(MemberRun, row) for row in rows)

    def finish(self, chunk: int, runs: Sequence[MemberRun]) -> None:
        """Keep the members of a finished chunk."""
        text = json.dumps([to_jsonable(run) for run in runs], allow_nan=False)
        write_beside(self._result(chunk), text.encode())
        self._snapshot(chunk).unlink(missing_ok=True)

    def snapshot(self, chunk: int) -> Snapshot | None:
        """Return the latest snapshot of a chunk."""
        from safetensors.torch import load

        try:
            tensors = load(self._snapshot(chunk).read_bytes())
        except FileNotFoundError:
            return None
        state = [tensors[f"state/{index}"] for index in range(len(tensors) - 2)]
        return Snapshot(int(tensors["step"]), state, tensors["scores"])

    def keep(self, chunk: int, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of the one before."""
        from safetensors.torch import save

        tensors = {
            f"state/{index}": tensor.clone(memory_format=torch.contiguous_format)
            for index, tensor in enumerate(snapshot.state)
        }
        content = {**tensors, "step": torch.tensor(snapshot.step), "scores": snapshot.scores.contiguous()}
        write_beside(self._snapshot(chunk), save(content))

    def _result(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05d}.json"

    def _snapshot(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05d}.safetensors"


def open_journal(folder: str | Path, header: Mapping[str, str]) -> Journal:
    """Open a journal, or begin one.

    Args:
        folder: where it is, or shall be.
        header: every setting that a result depends on, by name.

    Raises:
        ArgumentError: if it was made with other settings, which the message names, or the folder
            holds something else.
    """
    journal = Journal(Path(folder))
    path = journal.folder / "header.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if journal.folder.exists() and (not journal.folder.is_dir() or any(_others(journal.folder))):
            raise ArgumentError(
                f"journal={str(folder)!r} is no journal, and not empty: name a new folder"
            ) from None
        write_beside(path, json.dumps(dict(header), indent=1).encode())
        return journal
    except (OSError, ValueError) as error:
        raise ArgumentError(f"journal={str(folder)!r} cannot be read: {error}") from error
    if not isinstance(known, dict):
        raise ArgumentError(f"journal={str(folder)!r} holds another header.json: name a new folder")
    different = [name for name in dict.fromkeys((*known, *header)) if known.get(name) != header.get(name)]
    if different:
        name = different[0]
        more = f" (and {', '.join(different[1:])})" if different[1:] else ""
        raise ArgumentError(
            f"journal={str(folder)!r} was made with {name} = {known.get(name, 'none')}, "
            f"found {header.get(name, 'none')}{more}: name another folder, or delete it to begin anew"
        )
    return journal


def _others(folder: Path) -> list[Path]:
    """Return what a journal whose first write was killed does not leave behind."""
    return [path for path in folder.iterdir() if not path.name.startswith(".header.json.")]
