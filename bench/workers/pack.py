"""Time pickle -> hash -> compress in memory, as pytest-benchmark tests: the study's definition.

Through the serializer and the content-addressed store of this Metaflow, whatever they do,
onto a storage that only counts what it is handed.
"""

import hashlib
import json
import os
import pickle
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from payloads import PAYLOADS
from work import FLOOR

ASSIGNMENT = json.loads(os.environ["ASSIGNMENT"])

# Takes an object, returns the bytes that a store would be handed.
Pack = Callable[[Any], int]


def pack_by_hand(payload: Any) -> int:
    """The floor: pickle, the SHA-1 that is the key, and one checksum (CRC-32); no codec."""
    pickled = pickle.dumps(payload, protocol=4)
    hashlib.sha1(pickled).hexdigest()
    zlib.crc32(pickled)
    return len(pickled)


def make_pack() -> Pack:
    """What this Metaflow does with an object."""
    from metaflow.datastore.content_addressed_store import ContentAddressedStore
    from metaflow.datastore.datastore_storage import DataStoreStorage
    from metaflow.plugins.datastores.serializers.pickle_serializer import PickleSerializer

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

    storage = CountingStorage("memory")
    store = ContentAddressedStore("data", storage)

    def pack(payload: Any) -> int:
        ((blob,), _) = PickleSerializer.serialize(payload)
        store.save_blobs(iter([blob.value]))
        return storage.stored

    return pack


@pytest.mark.parametrize("name", ASSIGNMENT["payloads"])
def test_pack(benchmark: Any, name: str) -> None:
    payload = PAYLOADS[name].make()
    pack: Pack = pack_by_hand if FLOOR else make_pack()
    stored = benchmark(pack, payload)
    metaflow = sys.modules.get("metaflow")
    benchmark.extra_info.update(
        name=name,
        size=len(pickle.dumps(payload, protocol=4)),
        stored=stored,
        metaflow=getattr(metaflow, "__file__", None),
    )
