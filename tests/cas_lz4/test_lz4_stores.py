"""A store that stock and patched share, over the protocols of S3 and of Azure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import azurite
import pytest
import s3
from installed import (
    GZIP,
    LZ4,
    RUN_ID,
    STOCK_REFUSES,
    WITHOUT_LIBRARY,
    Place,
    assert_refused,
    is_lz4,
)
from sandbox import ROOT

from patchstack.project import Project


class Store(Protocol):
    """A server with the store in it, seen from outside of Metaflow."""

    settings: dict[str, str]

    def metadata(self) -> dict[str, dict[str, object] | None]:
        """What the metadata of each blob says, by its key in the store."""

    def lose_metadata(self) -> None:
        """Leave every blob as if it had been copied without its metadata."""


@pytest.fixture(scope="session")
def azurite_command() -> Path:
    return azurite.install_azurite(Project(ROOT))


@pytest.fixture(params=["s3", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "s3":
        with s3.serve() as served:
            yield served
    else:
        with azurite.serve(request.getfixturevalue("azurite_command"), tmp_path) as served:
            yield served


def test_stock_and_patched_share_a_store(store, tmp_path, stock, patched, patched_lz4) -> None:
    place = Place(tmp_path, store.settings)
    first = stock.run(place, fails=True, FAIL_JOIN="1")

    # Resumed with LZ4, and by stock: both save the same values again.
    patched_lz4.flow(place, "resume", *RUN_ID, codec="lz4")
    run = place.last_run
    origin = first.removeprefix("StoreFlow/")
    stock.flow(place, "resume", *RUN_ID, "--origin-run-id", origin)
    truth = stock.read(place, place.last_run)

    mixed = patched_lz4.read(place, run)
    assert mixed.values() == truth.values()
    assert mixed.by_key("start", "each") == truth.by_key("start", "each")
    metadata = store.metadata()
    assert metadata.keys() >= mixed.by_key().keys() | truth.by_key().keys()
    assert metadata == {key: LZ4 if is_lz4(key) else GZIP for key in metadata}
    assert_refused(stock.read(place, run), mixed, STOCK_REFUSES)
    assert_refused(patched.read(place, run), mixed, WITHOUT_LIBRARY)

    store.lose_metadata()
    assert not any(store.metadata().values())
    assert patched_lz4.read(place, run) == mixed
