"""GitHub's official OpenAPI description, cut down to the paths that are used.

It comes with the npm package `@octokit/openapi`, fetched once by npm at a pinned version and
checked against its integrity. Of its 13 MB only what the paths refer to is kept, under build/.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "@octokit/openapi@23.0.2"
INTEGRITY = (
    "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
)
MEMBER = "package/generated/api.github.com.json"
REPO = "/repos/{owner}/{repo}"
METHODS = {
    "/user": ["get"],
    REPO: ["get"],
    f"{REPO}/pulls": ["get", "post"],
    f"{REPO}/pulls/{{pull_number}}": ["get", "patch"],
    f"{REPO}/pulls/{{pull_number}}/reviews": ["get"],
    f"{REPO}/issues": ["get", "post"],
    f"{REPO}/issues/{{issue_number}}": ["get"],
    f"{REPO}/issues/{{issue_number}}/comments": ["get"],
    f"{REPO}/commits/{{ref}}/check-runs": ["get"],
}


def load_description(build: Path) -> dict[str, Any]:
    """The description of `METHODS` and of what they refer to; raises OSError without npm."""
    wanted = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    file = build / "openapi" / f"{wanted}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as name:
            partial = Path(name) / file.name
            partial.write_text(json.dumps(_cut(_fetch(Path(name)))))
            partial.replace(file)  # several test processes may have fetched it: all the same
    description: dict[str, Any] = json.loads(file.read_text())
    return description


def _fetch(folder: Path) -> Any:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm, which fetches GitHub's description, is not installed")
    done = subprocess.run([npm, "pack", PACKAGE], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"npm pack {PACKAGE}: {(done.stderr.splitlines() or ['no output'])[-1]}")
    (archive,) = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == INTEGRITY, f"{PACKAGE} is not the package it was"
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        assert member is not None
        return json.load(member)


def _cut(whole: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {key: whole[key] for key in ("openapi", "info", "servers")}
    kept["paths"] = {
        path: {method: whole["paths"][path][method] for method in methods}
        for path, methods in METHODS.items()
    }
    components: dict[str, Any] = {"schemas": {}}
    todo = [kept["paths"], {"$ref": "#/components/schemas/basic-error"}]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            todo += node.values()
            # null is a value of what is nullable, but some lists of values forget it.
            if node.get("nullable") and None not in node.get("enum", [None]):
                node["enum"].append(None)
            if isinstance(node.get("$ref"), str):
                _, _, kind, name = node["$ref"].split("/")
                if name not in components.setdefault(kind, {}):
                    components[kind][name] = whole["components"][kind][name]
                    todo.append(components[kind][name])
    return {**kept, "components": components}
