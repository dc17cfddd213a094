"""Azure's Resource Manager as the real az sees it: https, JSON, resources by their id.

It holds what it is sent and says what is there. Nothing of it is checked here but that a
resource exists; the tests look at what arrived.
"""

import base64
import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
TENANT = "11111111-1111-1111-1111-111111111111"
IMAGE_VERSION = "24.04.202601010"
Json = dict[str, Any]


class ResourceManager(ThreadingHTTPServer):
    """One subscription. `resources` are by their id in lower case: Azure minds no case."""

    daemon_threads = True
    # What az cloud register asks for; all of them are this server.
    ENDPOINTS = (
        "resource-manager",
        "management",
        "active-directory",
        "active-directory-resource-id",
    )

    def __init__(self, folder: Path, power: Callable[[Json, bool], None]) -> None:
        """`power` is told what VM is switched on or off."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
        command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(command, capture_output=True, check=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        # Where a machine in Azure gets the token of its identity: plain http, as there.
        self.identity = ThreadingHTTPServer(("127.0.0.1", 0), Identity)
        self.power = power
        self.resources: dict[str, Json] = {}
        self.running: dict[str, bool] = {}
        self.templates: list[Json] = []
        # Error code and message for requests whose method and path match a pattern.
        self.refused: dict[str, tuple[str, str]] = {}
        self.unknown: list[str] = []

    def start(self) -> None:
        for server in (self, self.identity):
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        for server in (self, self.identity):
            server.shutdown()
            server.server_close()

    def clear(self) -> None:
        for held in (self.resources, self.running, self.templates, self.refused, self.unknown):
            held.clear()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the real az needs to log in here."""
        return {
            "REQUESTS_CA_BUNDLE": str(self.certificate),
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.identity.server_port}/token",
            "IDENTITY_HEADER": "any",
        }

    def of_type(self, kind: str) -> list[Json]:
        return [one for one in self.resources.values() if one["type"].lower() == kind.lower()]

    def put(self, path: str, body: Json) -> Json:
        key = path.lower()
        parts = path.strip("/").split("/")
        after = parts[parts.index("providers") + 1 :] if "providers" in parts else ()
        kind = "/".join([after[0], *after[1::2]]) if after else "Microsoft.Resources/resourceGroups"
        one = {**body, "id": path, "name": parts[-1], "type": kind}
        one["properties"] = {**body.get("properties", {}), "provisioningState": "Succeeded"}
        self.resources[key] = one
        if kind == "Microsoft.Network/publicIPAddresses":
            one["properties"]["ipAddress"] = "127.0.0.1"
        if kind == "Microsoft.Resources/deployments":
            self.templates.append(body["properties"]["template"])
            group = path.split("/providers/")[0]
            for inner in body["properties"]["template"]["resources"]:
                self.put(f"{group}/providers/{inner['type']}/{inner['name']}", inner)
        if kind == "Microsoft.Compute/virtualMachines":
            self.switch(key, True)
        return one

    def switch(self, key: str, on: bool) -> None:
        if self.running.get(key) != on:
            self.running[key] = on
            self.power(self.resources[key], on)

    def delete(self, key: str) -> None:
        for one in [one for one in self.resources if f"{one}/".startswith(f"{key}/")]:
            if one in self.running:
                self.switch(one, False)
                del self.running[one]
            del self.resources[one]

    def instance_view(self, key: str) -> Json:
        power = (
            ("running", "VM running") if self.running[key] else ("deallocated", "VM deallocated")
        )
        states = [
            {"code": "ProvisioningState/succeeded", "displayStatus": "Provisioning succeeded"}
        ]
        states += [{"code": f"PowerState/{power[0]}", "displayStatus": power[1]}]
        return {"statuses": states}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code: int, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


class Handler(Answers):
    server: ResourceManager

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        path = re.sub("/+", "/", url.path).rstrip("/")
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {path}"
        for pattern, (code, message) in self.server.refused.items():
            if re.search(pattern, line):
                return self.answer(400, {"error": {"code": code, "message": message}})
        return self.respond(path, url.query, json.loads(raw) if raw else {})

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = handle_request

    def respond(self, path: str, query: str, body: Json) -> None:
        azure, key = self.server, path.lower()
        if key == "/subscriptions":
            one = {"subscriptionId": SUBSCRIPTION, "tenantId": TENANT, "state": "Enabled"}
            one |= {"id": f"/subscriptions/{SUBSCRIPTION}", "displayName": "a subscription"}
            return self.answer(200, {"value": [one]})
        if "/vmimage/" in key:
            image = {"id": path, "name": IMAGE_VERSION, "location": "any"}
            image["properties"] = {"osDiskImage": {"operatingSystem": "Linux"}, "features": []}
            return self.answer(200, [image] if key.endswith("/versions") else image)
        if key.endswith("/microsoft.costmanagement/query"):
            return self.answer(200, {"properties": {"columns": [], "rows": [[1.25, "EUR"]]}})
        if self.command == "PUT":
            return self.answer(201, azure.put(path, body))
        parent, _, action = key.rpartition("/")
        if self.command == "POST" and action in ("start", "deallocate") and parent in azure.running:
            azure.switch(parent, action == "start")
            return self.answer(200)
        if self.command == "GET" and action == "instanceview" and parent in azure.running:
            return self.answer(200, azure.instance_view(parent))
        if self.command == "GET" and re.search(r"/providers/[^/]+/[^/]+$", key):
            children = [v for k, v in azure.resources.items() if k.rpartition("/")[0] == key]
            return self.answer(200, {"value": children})
        if key not in azure.resources:
            azure.unknown.append(f"{self.command} {path}")
            error = {"code": "ResourceNotFound", "message": f"{path} was not found."}
            return self.answer(404, {"error": error})
        if self.command == "DELETE":
            return self.answer(200, azure.delete(key))
        found = azure.resources[key]
        if "instanceview" in query.lower():
            properties = found["properties"] | {"instanceView": azure.instance_view(key)}
            found = found | {"properties": properties}
        return self.answer(204) if self.command == "HEAD" else self.answer(200, found)


class Identity(Answers):
    def do_GET(self) -> None:
        parts = ({"alg": "none", "typ": "JWT"}, {"tid": TENANT, "oid": "any", "appid": "any"})
        coded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
        token = b".".join(part.rstrip(b"=") for part in coded).decode() + "."
        expires = str(int(time.time()) + 3600)
        body = {"access_token": token, "expires_on": expires, "token_type": "Bearer"}
        self.answer(200, body | {"resource": "any"})
