"""Azurite, Microsoft's emulator of Azure Storage, the way Metaflow meets Azure.

Metaflow asks for a token and sends it over https only. So Azurite has a certificate, and a
small server stands for the endpoint at which a machine in Azure gets its managed identity's
token. Azurite reads tokens and does not check who signed them.
"""

import base64
import json
import re
import shutil
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from patchstack.project import Project

AZURITE = "azurite@3.35.0"
ACCOUNT = "devstoreaccount1"  # the one that Azurite has without being told
BLOBS = "metaflow/StoreFlow/data/"
METADATA = "metaflow_user_attributes"


def install_azurite(project: Project) -> Path:
    """The command of Azurite under build/, installed on first use; skips where it cannot be."""
    for tool in ("npm", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"Azurite needs {tool}, which is not installed")
    folder = project.build / AZURITE
    with project.exclusive():
        if not folder.is_dir():
            with project.temporary_folder() as temporary:
                new = temporary / "azurite"
                new.mkdir()
                npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(new)]
                done = subprocess.run([*npm, AZURITE], capture_output=True, text=True, check=False)
                if done.returncode:
                    pytest.skip(f"npm could not install {AZURITE}: {done.stderr.strip()[-200:]}")
                new.replace(folder)
    return folder / "node_modules" / ".bin" / "azurite-blob"


class Azure:
    """The container `bucket` of a storage account, seen from outside of Metaflow."""

    def __init__(self, account: str, certificate: Path, identity: str, token: str) -> None:
        self.container = f"{account}/bucket"
        self.session = requests.Session()
        self.session.trust_env = False  # or the machine's certificates would win
        self.session.verify = str(certificate)
        self.session.headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-08-06"}
        self._ask("PUT", "?restype=container")
        self.settings = {
            "METAFLOW_DEFAULT_DATASTORE": "azure",
            "METAFLOW_DATASTORE_SYSROOT_AZURE": "bucket/metaflow",
            "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT": account,
            "IDENTITY_ENDPOINT": identity,
            "IDENTITY_HEADER": "any",
            "REQUESTS_CA_BUNDLE": str(certificate),
        }

    def _ask(self, method: str, what: str) -> bytes:
        answer = self.session.request(method, self.container + what)
        answer.raise_for_status()
        return answer.content

    def metadata(self) -> dict[str, dict[str, object] | None]:
        listing = "?restype=container&comp=list&include=metadata&prefix=" + BLOBS
        found: dict[str, dict[str, object] | None] = {}
        for blob in ElementTree.fromstring(self._ask("GET", listing)).iter("Blob"):
            text = blob.findtext(f"Metadata/{METADATA}")
            found[blob.findtext("Name", "").rsplit("/", 1)[1]] = text and json.loads(text)
        return found

    def lose_metadata(self) -> None:
        for key in self.metadata():
            self._ask("PUT", f"/{BLOBS}{key[:2]}/{key}?comp=metadata")


@contextmanager
def serve(command: Path, folder: Path) -> Iterator[Azure]:
    """Run Azurite with its data in memory, and a place to get tokens for it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    openssl += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    openssl += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(openssl, capture_output=True, check=True)
    start = [str(command), "--oauth", "basic", "--cert", str(certificate), "--key", str(key)]
    start += ["--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry", "--silent"]
    start += ["--skipApiVersionCheck"]
    azurite = subprocess.Popen(
        start, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert azurite.stdout is not None
    identity = ThreadingHTTPServer(("127.0.0.1", 0), Identity)
    threading.Thread(target=identity.serve_forever, daemon=True).start()
    try:
        said = ""
        while not (url := re.search(r"listens on (\S+)", said)):
            line = azurite.stdout.readline()
            assert line, f"Azurite did not start: {said}"
            said += line
        endpoint = f"http://127.0.0.1:{identity.server_port}/token"
        yield Azure(f"{url[1]}/{ACCOUNT}", certificate, endpoint, make_token())
    finally:
        azurite.terminate()
        azurite.communicate()
        identity.shutdown()
        identity.server_close()


class Identity(BaseHTTPRequestHandler):
    """Answers as the managed identity endpoint of Azure's App Service does."""

    def do_GET(self) -> None:
        expires = str(int(time.time()) + 3600)
        body = {"access_token": make_token(), "expires_on": expires, "token_type": "Bearer"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: object) -> None:
        pass


def make_token() -> str:
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/tenant/",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
    }
    parts = ({"alg": "HS256", "typ": "JWT"}, claims, {})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return b".".join(part.rstrip(b"=") for part in encoded).decode()
