"""Time pickle -> hash -> compress in memory, as pytest-benchmark tests: the study's definition.

Through the serializer and the content-addressed store of this Metaflow, whatever they do,
onto a storage that only counts what it is handed.
"""

import json
import os
from typing import Any

import pytest
from metaflow.datastore.content_addressed_store import ContentAddressedStore
from metaflow.datastore.datastore_storage import DataStoreStorage
from metaflow.plugins.datastores.serializers.pickle_serializer import PickleSerializer
from payloads import PAYLOADS

import metaflow

ASSIGNMENT = json.loads(os.environ["ASSIGNMENT"])


class CountingStorage(DataStoreStorage):
    """Holds nothing, so that every payload is new to it; remembers bytes of the last one."""

    TYPE = "counting"
    stored = 0

    @classmethod
    def path_join(cls, *components: str) -> str:
        return "/".join(components)

    def full_uri(self, path: str) -> str:
        return path

    def is_file(self, paths: list[str]) -> list[bool]:
        return [False for _ in paths]

    def save_bytes(self, path_and_bytes_iter: Any, **_: Any) -> None:
        for _, (packed, _) in path_and_bytes_iter:
            self.stored = packed.seek(0, 2)


@pytest.mark.parametrize("name", ASSIGNMENT["payloads"])
def test_pack(benchmark: Any, name: str) -> None:
    payload = PAYLOADS[name].make()
    storage = CountingStorage("memory")
    store = ContentAddressedStore("data", storage)

    def pack() -> None:
        ((blob,), _) = PickleSerializer.serialize(payload)
        store.save_blobs(iter([blob.value]))

    benchmark(pack)
    ((blob,), _) = PickleSerializer.serialize(payload)
    benchmark.extra_info.update(
        name=name, size=len(blob.value), stored=storage.stored, metaflow=metaflow.__file__
    )
