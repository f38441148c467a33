"""Every engine where it can run, and a cache of compiled code of the session's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from goodinit.comparing.engines.compiled import building
from goodinit.comparing.engines.step import NotStackable


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compiler() -> None:
    try:
        building.compiler()
    except NotStackable as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sequential", "stacked", "compiled"])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine; a test that takes some of them says which by an indirect parametrization."""
    if request.param == "compiled":
        request.getfixturevalue("compiler")
    return str(request.param)
