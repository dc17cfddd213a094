"""Stores for the task datastore: local folders, and prefixes on real servers.

A payload that a store already holds is neither compressed nor written, so every save gets a
store of its own, by a new name.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from metaflow.datastore.flow_datastore import FlowDataStore

FLOW = "BenchFlow"


class LocalStore:
    """A folder under `root`."""

    def __init__(self, root: str, name: str) -> None:
        from metaflow.plugins.datastores.local_storage import LocalStorage

        self.path = Path(root, name)
        self.path.mkdir(exist_ok=True)
        self.flow = FlowDataStore(FLOW, None, storage_impl=LocalStorage, ds_root=str(self.path))

    def stored(self) -> int:
        """Bytes of all blobs, without the metadata beside them."""
        blobs = Path(self.path, FLOW, "data").glob("*/*")
        return sum(blob.stat().st_size for blob in blobs if not blob.name.endswith("_meta"))

    def delete(self) -> None:
        shutil.rmtree(self.path)


class S3Store:
    """A prefix of a bucket; `root` is s3://bucket. The endpoint comes from the environment."""

    def __init__(self, root: str, name: str) -> None:
        from metaflow.plugins.datastores.s3_storage import S3Storage

        self.bucket, self.prefix = root.removeprefix("s3://"), name
        self.flow = FlowDataStore(
            FLOW, None, storage_impl=S3Storage, ds_root=f"{root}/{self.prefix}"
        )

    def _objects(self) -> Any:
        import boto3

        endpoint = os.environ["METAFLOW_S3_ENDPOINT_URL"]
        bucket = boto3.resource("s3", endpoint_url=endpoint).Bucket(self.bucket)
        return bucket.objects.filter(Prefix=f"{self.prefix}/")

    def stored(self) -> int:
        return sum(one.size for one in self._objects() if f"/{FLOW}/data/" in one.key)

    def delete(self) -> None:
        self._objects().delete()


class AzureStore:
    """A prefix of a container of Azurite; `root` is the container."""

    def __init__(self, root: str, name: str) -> None:
        from azure.storage.blob import ContainerClient
        from metaflow.plugins.datastores import azure_storage

        self.prefix = name
        ds_root = f"{root}/{self.prefix}"
        self.flow = FlowDataStore(
            FLOW, None, storage_impl=azure_storage.AzureStorage, ds_root=ds_root
        )
        # Azurite takes tokens over https only; the store's own client also takes a signature.
        signature = os.environ["AZURE_SIGNATURE"]
        self.flow._storage_impl._root_client = azure_storage._AzureRootClient(
            datastore_root=ds_root, shared_access_signature=signature
        )
        endpoint = os.environ["METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT"]
        self.container = ContainerClient(endpoint, root, credential=signature)

    def _blobs(self) -> Any:
        return self.container.list_blobs(name_starts_with=f"{self.prefix}/")

    def stored(self) -> int:
        return sum(blob.size for blob in self._blobs() if f"/{FLOW}/data/" in blob.name)

    def delete(self) -> None:
        for blob in self._blobs():
            self.container.delete_blob(blob.name)


def store(root: str, name: str) -> Any:
    """A store by name: on the server that `root` or the environment tells, else a folder."""
    if root.startswith("s3://"):
        return S3Store(root, name)
    if "AZURE_SIGNATURE" in os.environ:
        return AzureStore(root, name)
    return LocalStore(root, name)
