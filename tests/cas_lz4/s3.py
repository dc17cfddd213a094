"""Moto's S3 server, in this process: what talks to it are the processes of the runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3:
    """The bucket `bucket`, seen from outside of Metaflow."""

    def __init__(self, endpoint: str) -> None:
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )
        self.client.create_bucket(Bucket="bucket")
        self.settings = KEYS | {
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/metaflow",
            "METAFLOW_S3_ENDPOINT_URL": endpoint,
            # 64 processes for every dozen of objects otherwise.
            "METAFLOW_S3_WORKER_COUNT": "2",
        }

    def _blobs(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket="bucket", Prefix="metaflow/StoreFlow/data/"
        )
        return [found["Key"] for page in pages for found in page["Contents"]]

    def metadata(self) -> dict[str, dict[str, object] | None]:
        found: dict[str, dict[str, object] | None] = {}
        for key in self._blobs():
            head = self.client.head_object(Bucket="bucket", Key=key)
            text = head["Metadata"].get("metaflow-user-attributes")
            found[key.rsplit("/", 1)[1]] = text and json.loads(text)
        return found

    def lose_metadata(self) -> None:
        for key in self._blobs():
            source = {"Bucket": "bucket", "Key": key}
            self.client.copy_object(
                **source, CopySource=source, MetadataDirective="REPLACE", Metadata={}
            )


@contextmanager
def serve() -> Iterator[S3]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
