"""GitHub's official descriptions of its APIs, cut down to what is used.

OpenAPI for REST and the schema for GraphQL come with npm packages, fetched once by npm at pinned
versions and checked against their integrity. Of their 15 MB only what is used is kept, under
build/: the schema stands in the description as its extension `x-graphql`.
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

import graphql

# Package, its SHA-512, and the file in it.
OPENAPI = (
    "@octokit/openapi@23.0.2",
    "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg==",
    "package/generated/api.github.com.json",
)
GRAPHQL = (
    "@octokit/graphql-schema@15.26.1",
    "RFDC2MpRBd4AxSRvUeBIVeBU7ojN/SxDfALUd7iVYOSeEK3gZaqR2MGOysj4Zh2xj2RY5fQAUT+Oqq7hWTraMA==",
    "package/schema.graphql",
)
# Fields by type; a schema without a query is none.
FIELDS = {
    "Query": {"id"},
    "Mutation": {"markPullRequestReadyForReview"},
    "MarkPullRequestReadyForReviewInput": {"clientMutationId", "pullRequestId"},
    "MarkPullRequestReadyForReviewPayload": {"clientMutationId", "pullRequest"},
    "PullRequest": {"id", "isDraft", "number"},
}
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
            whole = _cut(json.loads(_fetch(Path(name), *OPENAPI)))
            schema = _cut_schema(_fetch(Path(name), *GRAPHQL).decode())
            partial.write_text(json.dumps({**whole, "x-graphql": schema}))
            partial.replace(file)  # several test processes may have fetched it: all the same
    description: dict[str, Any] = json.loads(file.read_text())
    return description


def _fetch(folder: Path, package: str, integrity: str, name: str) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm, which fetches GitHub's descriptions, is not installed")
    done = subprocess.run([npm, "pack", package], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"npm pack {package}: {(done.stderr.splitlines() or ['no output'])[-1]}")
    archive = folder / done.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == integrity, f"{package} is not the package it was"
    with tarfile.open(archive) as tar:
        member = tar.extractfile(name)
        assert member is not None
        return member.read()


def _cut_schema(schema: str) -> str:
    """`FIELDS` of the schema, in its language."""
    kept = []
    for node in graphql.parse(schema, no_location=True).definitions:
        name = getattr(node, "name", None)
        if name is not None and name.value in FIELDS:
            fields = [one for one in node.fields if one.name.value in FIELDS[name.value]]  # type: ignore[attr-defined]
            kept.append(type(node)(name=name, fields=tuple(fields)))
    return graphql.print_ast(graphql.DocumentNode(definitions=tuple(kept)))


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
