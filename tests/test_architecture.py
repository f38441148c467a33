"""The rooms of the design: who may import whom, how long a file is, what must carry a docstring."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "goodinit"
LONGEST_FILE = 400

# Room -> the rooms that it may import. `errors`, `records` and `files` are open to everyone.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "records": frozenset(),
    "files": frozenset(),
    "rng": frozenset(),
    "theory": frozenset(),
    "initializers": frozenset({"rng", "theory"}),
    "init": frozenset({"initializers"}),
    "graph": frozenset({"theory"}),
    "recipes": frozenset({"initializers", "graph"}),
    "plans": frozenset({"recipes", "initializers", "graph", "rng"}),
    "signals": frozenset({"theory", "graph"}),
    "comparing": frozenset({"plans", "signals"}),
    "lab": frozenset(
        {
            "goodinit",
            "comparing",
            "signals",
            "plans",
            "recipes",
            "graph",
            "init",
            "initializers",
            "theory",
            "rng",
        }
    ),
    "report": frozenset(),
    "integrations": frozenset({"signals", "report"}),
}
OPEN_TO_ALL = frozenset({"errors", "records", "files"})
# The command line and the package's own front door (`goodinit/__init__.py`) may use anything.
UNRESTRICTED = frozenset({"cli", "__main__", "goodinit"})
# Single imports that the table does not allow, each with its reason.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("rng", "kernels"): "the compiled module, which holds the reference's arithmetic and knows no other room",
    ("records", "report"): "showing a record hands it to the room that draws, inside the method",
    ("init", "rng"): "a drop-in call turns one draw of torch's generator into a key and fills with it",
    ("recipes", "theory"): "auto is theory applied to a traced graph: moments and operating points",
    ("comparing", "rng"): "the order of batches and the start of a build have keys, as parameters have",
    ("init", "theory"): "calculate_gain asks for gains that torch does not know",
}
LAZY_ONLY = frozenset({("records", "report")})
# Modules written in another package's language: nobody imports them before a function asks for that package.
ON_DEMAND = {"rng/gpu_arithmetic.py": "triton", "rng/gpu_kernel.py": "triton"}


@dataclass(frozen=True)
class Import:
    """One import statement: of what, where, and whether it runs only when a function is called."""

    file: str
    line: int
    module: str
    lazy: bool


def room_of(path: Path, package: Path) -> str:
    """The room of a file: its folder or module; `_init_fills.py` is a part of the room `init`."""
    first = path.relative_to(package).parts[0].removesuffix(".py")
    if first == "__init__":
        return "goodinit"
    if first.startswith("_") and not first.startswith("__"):
        return first.split("_")[1]
    return first


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    """Every import of a file, function-level, TYPE_CHECKING, relative and by string included."""
    inside = ("goodinit", *path.relative_to(package).parent.parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    deferred = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }

    def absolute(level: int, name: str) -> str:
        return ".".join([*inside[: len(inside) - level + 1], *([name] if name else [])]) if level else name

    where = str(path.relative_to(package.parent))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(node.level, node.module or "")
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            text = node.args[0].value
            if called in {"import_module", "__import__"} and isinstance(text, str):
                level = len(text) - len(text.lstrip("."))
                names = [absolute(level, text.lstrip("."))]
        for name in names:
            yield Import(where, node.lineno, name, node in deferred)


def public_home() -> dict[str, str]:
    """Public name of the package -> the room that it comes from (``from goodinit import Plan``)."""
    import goodinit

    return {name: module.split(".")[1] for name, module in goodinit._HOME.items()}


def target_of(name: str) -> str | None:
    """The room that an imported name belongs to; None where it belongs to no room of ours."""
    parts = name.split(".")
    if parts[0] != "goodinit":
        return None
    if len(parts) == 1 or parts[1] == "*":
        return "goodinit"
    if parts[1] == "__version__":
        return None
    second = parts[1].split("_")[1] if re.match(r"_[a-z]", parts[1]) else parts[1]
    return public_home().get(second, second)


def violations(package: Path) -> list[str]:
    """Every import that the table does not allow, and every room that it does not know."""
    found = []
    for path in sorted(package.rglob("*.py")):
        room = room_of(path, package)
        if room in UNRESTRICTED:
            continue
        if room not in MAY_IMPORT:
            found.append(f"{path.relative_to(package.parent)}: room {room!r} is not in the table MAY_IMPORT")
            continue
        for item in imports_of(path, package):
            target = target_of(item.module)
            if target is None or target == room or target in OPEN_TO_ALL or target in MAY_IMPORT[room]:
                continue
            if (room, target) in EXCEPTIONS and (item.lazy or (room, target) not in LAZY_ONLY):
                continue
            found.append(f"{item.file}:{item.line}: {room} may not import {target} ({item.module})")
    return found


def undeclared(package: Path, required: frozenset[str]) -> list[str]:
    """Imports that run when a module loads, of packages that installing goodinit does not bring.

    A module of `integrations` is loaded by those who use the package that it is named for, and those of
    `ON_DEMAND` inside functions alone.
    """
    late = {f"goodinit.{path.removesuffix('.py').replace('/', '.')}" for path in ON_DEMAND}
    known = required | sys.stdlib_module_names | {"goodinit"}
    found = []
    for path in sorted(package.rglob("*.py")):
        partner = {path.stem.removesuffix("_plugin")} if path.parent.name == "integrations" else set()
        own = ON_DEMAND.get(path.relative_to(package).as_posix())
        found += [
            f"{item.file}:{item.line}: {item.module} is no dependency; import it where it is used"
            for item in imports_of(path, package)
            if not item.lazy
            and (
                item.module.split(".")[0] not in known | partner | {own}
                or (own is None and any(item.module.startswith(module) for module in late))
            )
        ]
    return found


def without_docstring(module: ModuleType) -> list[str]:
    """Public functions, classes and their public methods of a module that have no docstring of their own."""
    found = []
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        written = inspect.getdoc(value) if inspect.isroutine(value) else value.__dict__.get("__doc__")
        generated = dataclasses.is_dataclass(value) and (written or "").startswith(f"{name}(")
        if not written or generated:
            found.append(f"{module.__name__}.{name}")
        if inspect.isclass(value) and value.__module__.startswith(module.__name__.split(".")[0]):
            found += [
                f"{module.__name__}.{name}.{member}"
                for member, thing in vars(value).items()
                if not member.startswith("_")
                and (inspect.isroutine(thing) or isinstance(thing, property))
                and not inspect.getdoc(getattr(value, member))
            ]
    return found


def rooms() -> list[str]:
    found = {room_of(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    return sorted(found - {"goodinit", "__main__"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty package `goodinit` with a room for every row of the table."""
    package = tmp_path / "goodinit"
    for room in MAY_IMPORT:
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text("")
    return package


def test_rooms_import_only_what_the_table_allows() -> None:
    found = violations(PACKAGE)
    assert not found, "\n".join(["not in the table:", *found])


FORBIDDEN = {
    "plain": "import goodinit.plans",
    "aliased": "import goodinit.plans.apply as carry_out",
    "among others": "import json, goodinit.plans",
    "from the room": "from goodinit.plans import Plan",
    "from the package": "from goodinit import plans",
    "public name": "from goodinit import Plan",
    "whole package": "import goodinit",
    "star": "from goodinit import *",
    "relative room": "from .. import plans",
    "relative name": "from ..plans import Plan",
    "inside a function": "def f():\n    from goodinit.plans import Plan",
    "for types only": "import typing\nif typing.TYPE_CHECKING:\n    from goodinit.plans import Plan",
    "behind a try": "try:\n    import goodinit.plans\nexcept ImportError:\n    pass",
    "by string": "import importlib\nplans = importlib.import_module('goodinit.plans')",
    "by relative string": "from importlib import import_module\np = import_module('..plans', __package__)",
    "by __import__": "plans = __import__('goodinit.plans')",
    "private part of a room": "from goodinit._plans_helpers import merge",
}


@pytest.mark.parametrize("source", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_planted_forbidden_import_is_caught(tree: Path, source: str) -> None:
    (tree / "signals" / "probe.py").write_text(source)
    found = violations(tree)
    assert len(found) == 1
    assert found[0].startswith("goodinit/signals/probe.py:")


def test_allowed_imports_are_not_reported(tree: Path) -> None:
    (tree / "signals" / "probe.py").write_text(
        "import json\nimport torch\n"
        "from goodinit import __version__\n"
        "from goodinit.errors import ArgumentError\n"
        "from goodinit import GoodinitError, Report\n"
        "from .moments import moments\nfrom . import moments as m\nfrom ..records import Finding\n"
        "from ..theory import fans\nfrom goodinit.graph.trace import trace\n"
    )
    assert violations(tree) == []


def test_a_planted_unknown_room_is_caught(tree: Path) -> None:
    (tree / "helpers").mkdir()
    (tree / "helpers" / "text.py").write_text("")
    assert violations(tree) == ["goodinit/helpers/text.py: room 'helpers' is not in the table MAY_IMPORT"]


def test_every_exception_is_still_needed() -> None:
    needed = {
        (room_of(path, PACKAGE), target_of(item.module))
        for path in PACKAGE.rglob("*.py")
        for item in imports_of(path, PACKAGE)
    }
    assert [pair for pair in EXCEPTIONS if pair not in needed] == []


def test_an_exception_that_must_be_lazy_is_caught_at_module_level(tree: Path) -> None:
    lazy, eager = (
        "def show():\n    from goodinit.report import to_text\n",
        "from goodinit.report import to_text\n",
    )
    (tree / "records" / "__init__.py").write_text(lazy)
    assert violations(tree) == []
    (tree / "records" / "__init__.py").write_text(eager)
    assert len(violations(tree)) == 1


def test_the_table_has_no_circle() -> None:
    reached: dict[str, set[str]] = {room: set(allowed) for room, allowed in MAY_IMPORT.items()}
    for _ in MAY_IMPORT:
        for allowed in reached.values():
            allowed |= {far for near in list(allowed) for far in reached.get(near, ())}
    assert [room for room, allowed in reached.items() if room in allowed] == []


def required_packages() -> frozenset[str]:
    lines = importlib.metadata.requires("goodinit") or []
    names = (re.match(r"[\w.-]+", line) for line in lines if "extra ==" not in line)
    return frozenset(match.group().replace("-", "_").lower() for match in names if match)


def test_modules_load_with_the_declared_dependencies_alone() -> None:
    assert {"torch", "numpy"} <= required_packages()
    found = undeclared(PACKAGE, required_packages())
    assert not found, "\n".join(found)


def test_a_planted_optional_dependency_at_module_level_is_caught(tree: Path) -> None:
    (tree / "theory" / "fine.py").write_text("import numpy as np\ndef f():\n    import sklearn\n")
    (tree / "theory" / "wrong.py").write_text("from sklearn import datasets\n")
    (tree / "integrations").mkdir(exist_ok=True)
    (tree / "integrations" / "lightning.py").write_text("import lightning\nimport wandb\n")
    (tree / "rng" / "gpu_kernel.py").write_text("import triton\nfrom goodinit.rng.gpu_arithmetic import f\n")
    (tree / "rng" / "gpu.py").write_text(
        "from goodinit.rng.gpu_kernel import f\ndef g():\n    from goodinit.rng.gpu_kernel import f\n"
    )
    found = sorted(undeclared(tree, required_packages()), reverse=True)
    assert len(found) == 3
    assert found[2].startswith("goodinit/integrations/lightning.py:2: wandb")
    assert found[1].startswith("goodinit/rng/gpu.py:1: goodinit.rng.gpu_kernel.f")
    assert found[0].startswith("goodinit/theory/wrong.py:1: sklearn.datasets")


def source_files() -> list[Path]:
    folders = ("src", "tests", "benchmarks", "examples", "tools")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def too_long(paths: list[Path]) -> list[str]:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return [f"{path.name}: {count} lines" for path, count in lengths.items() if count > LONGEST_FILE]


def test_no_file_is_longer_than_a_reader_can_hold(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * (LONGEST_FILE + 1))
    (tmp_path / "fine.py").write_text("x = 1\n" * LONGEST_FILE)
    assert too_long(sorted(tmp_path.iterdir())) == ["long.py: 401 lines"]
    found = too_long(source_files())
    assert not found, f"over {LONGEST_FILE} lines: {found}"


def test_no_module_is_named_for_being_useful() -> None:
    vague = re.compile(r"_*(utils?|helpers?|misc|common)")
    names = [part for path in source_files() for part in path.relative_to(ROOT).with_suffix("").parts]
    assert [name for name in names if vague.fullmatch(name)] == []
    assert vague.fullmatch("_utils")


@pytest.mark.parametrize("room", rooms())
def test_every_public_name_of_a_room_has_a_docstring(room: str) -> None:
    module = importlib.import_module(f"goodinit.{room}")
    assert module.__doc__, f"goodinit.{room} has no docstring"
    assert getattr(module, "__all__", None), f"goodinit.{room} has no __all__"
    assert without_docstring(module) == []


def test_a_planted_missing_docstring_is_caught() -> None:
    planted = ModuleType("planted")
    source = (
        "from dataclasses import dataclass\n"
        "__all__ = ['Bare', 'Told', 'bare', 'told', 'NUMBER']\n"
        "NUMBER = 1\n"
        "@dataclass\nclass Bare:\n    x: int\n"
        "class Told:\n    'Told.'\n    def bare(self): ...\n    def told(self):\n        'Told.'\n"
        "def bare(): ...\n"
        "def told():\n    'Told.'\n"
    )
    sys.modules["planted"] = planted
    try:
        exec(source, planted.__dict__)
    finally:
        del sys.modules["planted"]
    assert without_docstring(planted) == ["planted.Bare", "planted.Told.bare", "planted.bare"]
