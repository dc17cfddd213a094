"""Object stores on the loopback: S3-protocol servers, and Azurite.

Real servers of the protocols, which hold everything in memory: what is measured is what a
client does, and no network. Distant ones are behind a delay, as of a network: moto, and OpenStack
Swift, which is run in production.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.environments import (
    WORKERS,
    Environment,
    Environments,
    Packages,
    clean_environment,
    last_line,
)
from bench.errors import BenchError

BUCKET = "bench"
# Azurite's well-known account, from its documentation.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURITE = "azurite@3.37.0"
SWIFT = "swift==2.38.3"
START_SECONDS = 30
# A round trip to a store in the same part of the world.
DELAY = 0.02  # seconds
_DISTANT = {"s3-20ms": "distant.py", "swift-20ms": "distant_swift.py"}

_MAKE_BUCKET = """
import boto3, sys
boto3.client("s3", endpoint_url=sys.argv[1]).create_bucket(Bucket=sys.argv[2])
"""
_MAKE_CONTAINER = """
import datetime, sys
from azure.storage.blob import BlobServiceClient, generate_account_sas
from azure.storage.blob import AccountSasPermissions, ResourceTypes
endpoint, account, key, container = sys.argv[1:]
BlobServiceClient(endpoint, credential=key).create_container(container)
print(generate_account_sas(
    account, key, ResourceTypes(service=True, container=True, object=True),
    AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True),
    datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)))
"""


@dataclass(frozen=True)
class Server:
    """A running server: where stores go, and what a client's environment needs."""

    root: str
    settings: dict[str, str] = field(default_factory=dict)


def serve(
    store: str, environments: Environments, folder: Path
) -> contextlib.AbstractContextManager[Server]:
    """Run the server of a store (`SERVED` of bench/workloads.py) with its files in `folder`."""
    if store == "azure":
        return _serve_azure(environments, folder)
    packages = ("boto3", SWIFT if store == "swift-20ms" else "moto[s3,server]")
    return _serve_s3(environments.provide(None, Packages(packages)), folder, _DISTANT.get(store))


def count_requests(settings: Mapping[str, str]) -> int:
    """How many requests a distant server answered since this was last asked."""
    # No bucket can have this name.
    with urllib.request.urlopen(settings["METAFLOW_S3_ENDPOINT_URL"] + "/-") as answer:
        count: int = json.load(answer)
    return count


@contextlib.contextmanager
def _serve_s3(own: Environment, folder: Path, worker: str | None) -> Iterator[Server]:
    """`worker` is the server behind a delay; by default moto, without one."""
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    settings = {
        "METAFLOW_S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "bench:bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    env = clean_environment(**settings)
    command = [str(own.path / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    if worker:
        command = [str(own.python), str(WORKERS / worker), str(port), str(DELAY)]
    with _running(command, endpoint, env, folder):
        _call([str(own.python), "-c", _MAKE_BUCKET, endpoint, BUCKET], env, folder)
        yield Server(f"s3://{BUCKET}", settings)


@contextlib.contextmanager
def _serve_azure(environments: Environments, folder: Path) -> Iterator[Server]:
    own = environments.provide(None, Packages(("azure-storage-blob",)))
    port = _free_port()
    service = f"http://127.0.0.1:{port}"
    endpoint = f"{service}/{ACCOUNT}"
    command = [str(find_azurite(environments.folder)), "--silent", "--skipApiVersionCheck"]
    command += ["--inMemoryPersistence", "--disableTelemetry"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    env = clean_environment()
    with _running(command, service, env, folder):
        make = [str(own.python), "-c", _MAKE_CONTAINER, endpoint, ACCOUNT, KEY, BUCKET]
        signature = _call(make, env, folder).strip()
        settings = {
            "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT": endpoint,
            "AZURE_SIGNATURE": signature,
        }
        yield Server(BUCKET, settings)


def find_azurite(folder: Path) -> Path:
    """Azurite's blob server, installed under `folder` with npm on first use."""
    home = folder / AZURITE
    modules = home / "node_modules"
    if not (modules / ".package-lock.json").exists():  # what npm writes last
        npm = shutil.which("npm")
        if npm is None:
            raise BenchError("Azurite needs npm: install Node.js")
        home.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--silent", "--no-fund", "--no-audit", AZURITE]
        done = subprocess.run([*install, "--prefix", str(home)], capture_output=True, text=True)
        if done.returncode:
            said = last_line(done.stderr or done.stdout)
            raise BenchError(f"npm could not install {AZURITE}: {said}")
    return modules / ".bin" / "azurite-blob"


@contextlib.contextmanager
def _running(command: list[str], url: str, env: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a server until the end of the block; ready when it answers anything at all."""
    name = Path(command[0]).name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    if shutil.which("setpriv"):  # Linux: let it not outlive us if we are killed
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_SECONDS
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > end:
                said = last_line(log.read_text(errors="replace"))
                raise BenchError(f"{name} does not start: {said}")
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it says no, so it is there
    except OSError:
        return False
    return True


def _call(command: list[str], env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"a store could not be made on the server: {last_line(done.stderr)}")
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
