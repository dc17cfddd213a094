"""The same store over the protocols of S3 and Azure, on servers that the tests start."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import boto3
import pytest
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
from moto.server import ThreadedMotoServer

KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Store(Protocol):
    """A server with a store in it, seen from outside of Metaflow."""

    settings: dict[str, str]

    def metadata(self) -> dict[str, dict[str, object]]:
        """What the metadata of each blob says, by its key in the store."""

    def lose_metadata(self) -> None:
        """Copy every blob over itself without its metadata."""


@dataclass(frozen=True)
class S3:
    client: Any
    settings: dict[str, str]

    def _blobs(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket="bucket", Prefix="metaflow/StoreFlow/data/"
        )
        return [found["Key"] for page in pages for found in page["Contents"]]

    def metadata(self) -> dict[str, dict[str, object]]:
        heads = {key: self.client.head_object(Bucket="bucket", Key=key) for key in self._blobs()}
        return {
            key.rsplit("/", 1)[1]: json.loads(head["Metadata"]["metaflow-user-attributes"])
            for key, head in heads.items()
        }

    def lose_metadata(self) -> None:
        for key in self._blobs():
            source = {"Bucket": "bucket", "Key": key}
            self.client.copy_object(
                Bucket="bucket", Key=key, CopySource=source, MetadataDirective="REPLACE"
            )
            assert self.client.head_object(**source)["Metadata"] == {}


@pytest.fixture
def s3() -> Iterator[S3]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket="bucket")
    yield S3(
        client,
        KEYS
        | {
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/metaflow",
            "METAFLOW_S3_ENDPOINT_URL": endpoint,
            # 64 processes for every dozen of objects otherwise.
            "METAFLOW_S3_WORKER_COUNT": "2",
        },
    )
    server.stop()


@pytest.mark.parametrize("server", ["s3"])
def test_stock_and_patched_share_a_store(
    server, request, tmp_path, stock, patched, patched_lz4
) -> None:
    store: Store = request.getfixturevalue(server)
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
    assert mixed.by_key().keys() | truth.by_key().keys() <= metadata.keys()
    assert all(metadata[key] == (LZ4 if is_lz4(key) else GZIP) for key in metadata)
    assert_refused(stock.read(place, run), mixed, STOCK_REFUSES)
    assert_refused(patched.read(place, run), mixed, WITHOUT_LIBRARY)

    store.lose_metadata()
    assert patched_lz4.read(place, run) == mixed
