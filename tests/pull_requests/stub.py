"""A GitHub of one's own: the REST API on a Unix socket, stateful, and held to the description.

Answers are the official examples with our state put over them. Every request and every answer
is validated; what does not fit is kept in `violations`, on which the fixture fails the test.
The one mutation in use is GraphQL: it is executed by GitHub's own schema.
"""

import copy
import http.server
import json
import os
import re
import socketserver
import subprocess
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from graphql import GraphQLError, build_schema, graphql_sync
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from openapi_schema_validator import OAS30Validator

TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
TIME = "2026-01-02T03:04:05Z"
HOST = "https://api.github.com"

Json = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong at the next requests that match."""

    method: str
    path: str  # a regular expression
    status: int = 0  # 0: the connection is cut
    body: Json = field(default_factory=lambda: {"message": "Server Error"})
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    carried_out: bool = False  # the request is carried out, its answer is lost
    call: Callable[[], object] = lambda: None


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Json


@dataclass
class GitHub:
    """The state, as tests look at it and change it."""

    description: Json
    upstream: str
    fork: str
    fork_git: Path
    socket: Path
    login: str = "zoe"
    default_branch: str = "master"
    parent: str = ""
    items: dict[tuple[str, int], Json] = field(default_factory=dict)
    comments: dict[tuple[str, int], list[Json]] = field(default_factory=dict)
    reviews: dict[tuple[str, int], list[Json]] = field(default_factory=dict)
    checks: dict[str, list[Json]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lag: int = 0  # lists of pull requests that will not hold them yet
    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = OpenAPI.from_dict(self.description)
        self.schema = build_schema(self.description["x-graphql"], assume_valid_sdl=True)
        self.parent = self.upstream

    # What happens on GitHub without us.

    def example(self, name: str) -> Any:
        value = copy.deepcopy(self.description["components"]["examples"][name]["value"])
        return value[0] if isinstance(value, list) else value

    def add_issue(self, title: str, body: str, login: str, slug: str = "") -> int:
        slug = slug or self.upstream
        number = max((one for _, one in self.items), default=100) + 1
        issue = self.example("issue")
        issue.pop("pull_request", None)
        mine = {"number": number, "title": title, "body": body, "state": "open", "labels": []}
        url = f"https://github.com/{slug}/issues/{number}"
        user = self.user(login)
        extra = {"user": user, "html_url": url, "comments": 0, "closed_at": None}
        self.items[slug, number] = {**issue, **mine, **extra}
        return number

    def add_pull(self, head: str, body: str, slug: str = "", **content: Any) -> int:
        slug = slug or self.upstream
        number = self.add_issue(content.get("title", "A pull request"), body, self.login, slug)
        pull = self.example("pull-request")
        owner, _, branch = head.partition(":")
        mine = {key: self.items[slug, number][key] for key in ("number", "title", "body", "user")}
        repo = self.repository(f"{owner}/metaflow")
        pull["head"] = {**pull["head"], "label": head, "ref": branch, "repo": repo}
        pull["head"]["sha"] = self.head(branch) or "0" * 40
        pull |= mine | {"state": "open", "draft": bool(content.get("draft")), "merged": False}
        pull |= {"merged_at": None, "closed_at": None, "requested_teams": [], "comments": 0}
        pull |= {"node_id": f"PR_{number}", "labels": [], "review_comments": 0}
        pull["html_url"] = f"https://github.com/{slug}/pull/{number}"
        self.items[slug, number] |= {"pull": pull, "pull_request": self._pull_links()}
        return number

    def pull(self, number: int, slug: str = "") -> Json:
        """The pull request as GitHub would show it now."""
        pull: Json = self.items[slug or self.upstream, number]["pull"]
        pull["head"]["sha"] = self.head(pull["head"]["ref"]) or pull["head"]["sha"]
        pull["comments"] = len(self.comments.get((slug or self.upstream, number), []))
        return pull

    @property
    def pulls(self) -> list[Json]:
        return [
            self.pull(number)
            for slug, number in self.items
            if slug == self.upstream and "pull" in self.items[slug, number]
        ]

    @property
    def issues(self) -> list[Json]:
        return [item for item in self.items.values() if "pull" not in item]

    def comment(self, number: int, login: str, association: str = "NONE", slug: str = "") -> None:
        comment = self.example("issue-comment-items")
        comment |= {"user": self.user(login), "author_association": association, "body": "Hm."}
        comment |= {"created_at": TIME}
        self.comments.setdefault((slug or self.upstream, number), []).append(comment)

    def review(self, number: int, login: str, state: str) -> None:
        review = self.example("pull-request-review-items")
        review |= {"user": self.user(login), "state": state, "submitted_at": TIME}
        self.reviews.setdefault((self.upstream, number), []).append(review)

    def check(self, sha: str, name: str, status: str, conclusion: str | None) -> None:
        run = self.example("check-run-paginated")["check_runs"][0]
        run |= {"name": name, "status": status, "conclusion": conclusion, "head_sha": sha}
        self.checks.setdefault(sha, []).append({**run, "pull_requests": []})

    def close(self, number: int, *, merged: bool = False) -> None:
        pull = self.pull(number)
        pull |= {"state": "closed", "closed_at": TIME}
        self.items[self.upstream, number]["state"] = "closed"
        if merged:
            pull |= {"merged": True, "merged_at": TIME}

    def head(self, branch: str) -> str | None:
        show = ["git", "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"]
        done = subprocess.run(show, cwd=self.fork_git, capture_output=True, text=True)
        return done.stdout.strip() or None

    def user(self, login: str) -> Json:
        user: Json = self.example("issue")["user"]
        return {**user, "login": login, "type": "Bot" if login.endswith("[bot]") else "User"}

    def repository(self, slug: str) -> Json:
        repo = self.example("full-repository-default-response")
        repo |= {"full_name": slug, "default_branch": self.default_branch, "language": None}
        for key in ("template_repository", "organization", "source", "parent"):
            repo.pop(key, None)
        return repo

    def _pull_links(self) -> Json:
        return {"url": HOST, "html_url": HOST, "diff_url": HOST, "patch_url": HOST}

    # What is asked for.

    def answer(self, request: Request) -> tuple[int, Any]:
        """The answer as status and JSON."""
        if request.path == "/graphql":
            return self._graphql(request.body)
        if request.path == "/user":
            name = "private-user-response-with-public-and-private-profile-information"
            return 200, {**self.example(name), "login": self.login, "user_view_type": "private"}
        slug, rest = re.fullmatch(r"/repos/([^/]+/[^/]+)(.*)", request.path).groups()  # type: ignore[union-attr]
        if slug not in (self.upstream, self.fork):
            return 404, {"message": "Not Found"}
        if not rest:
            repo = self.repository(slug)
            if slug == self.fork:
                repo |= {"fork": True, "parent": self.repository(self.parent)}
            return 200, repo
        if rest == "/pulls":
            return self._pulls(slug, request)
        if rest == "/issues":
            return self._issues(slug, request)
        if found := re.fullmatch(r"/commits/(\w+)/check-runs", rest):
            runs = self.checks.get(found[1], [])
            return 200, {"total_count": len(runs), "check_runs": runs}
        found = re.fullmatch(r"/(pulls|issues)/(\d+)(?:/(\w+))?", rest)
        assert found, rest
        key = (slug, int(found[2]))
        if key not in self.items or (found[1] == "pulls" and "pull" not in self.items[key]):
            return 404, {"message": "Not Found"}
        if found[3]:
            return 200, self._page(getattr(self, found[3]).get(key, []), request)
        if found[1] == "issues":
            return 200, {name: one for name, one in self.items[key].items() if name != "pull"}
        pull = self.pull(key[1], slug)
        if request.method == "PATCH":
            pull |= request.body
        return 200, pull

    def _pulls(self, slug: str, request: Request) -> tuple[int, Any]:
        if request.method == "GET":
            self.lag, late = max(0, self.lag - 1), self.lag > 0
            found = [] if late else [self._simple(pull) for pull in self.pulls]
            if ":" in request.query.get("head", ""):
                found = [one for one in found if one["head"]["label"] == request.query["head"]]
            wanted = request.query.get("state", "open")
            found = [one for one in found if wanted in ("all", one["state"])]
            return 200, self._page(found[::-1], request)
        content = request.body
        if self.head(content["head"].partition(":")[2]) is None:
            return 422, self._invalid("Validation Failed", "PullRequest: head is invalid")
        same = [pull for pull in self.pulls if pull["head"]["label"] == content["head"]]
        if any(pull["state"] == "open" for pull in same):
            what = f"A pull request already exists for {content['head']}."
            return 422, self._invalid("Validation Failed", what)
        head = content["head"]
        rest = {key: content[key] for key in content if key not in ("head", "body")}
        return 201, self.pull(self.add_pull(head, content["body"], slug, **rest))

    def _issues(self, slug: str, request: Request) -> tuple[int, Any]:
        if request.method == "POST":
            number = self.add_issue(request.body["title"], request.body["body"], self.login, slug)
            return 201, self.items[slug, number]
        found = [
            {key: one for key, one in item.items() if key != "pull"}
            for (where, _), item in self.items.items()
            if where == slug and item["user"]["login"] == request.query.get("creator")
        ]
        return 200, self._page(found[::-1], request)

    def _simple(self, pull: Json) -> Json:
        simple = self.example("pull-request-simple-items")
        return {**simple, **{key: pull[key] for key in simple if key in pull}}

    def _invalid(self, message: str, error: str) -> Json:
        errors = [{"resource": "PullRequest", "code": "custom", "message": error}]
        return {"message": message, "errors": errors, "documentation_url": "https://docs"}

    def _page(self, found: list[Json], request: Request) -> list[Json]:
        size, page = (int(request.query.get(*one)) for one in (("per_page", 30), ("page", 1)))
        return found[(page - 1) * size : page * size]

    def _graphql(self, body: Json) -> tuple[int, Any]:
        def mark(_: object, input: Json) -> Json:
            for pull in self.pulls:
                if pull["node_id"] == input["pullRequestId"]:
                    pull["draft"] = False
                    return {"pullRequest": {"isDraft": False}}
            raise GraphQLError(f"Could not resolve to a node with the id {input['pullRequestId']}")

        root = {"markPullRequestReadyForReview": mark}
        done = graphql_sync(self.schema, body["query"], root, variable_values=body["variables"])
        return 200, done.formatted

    # Validation.

    def validate(self, request: Request, status: int, answer: Any) -> None:
        """Hold a request, and what is answered to it, to the description."""
        if request.path == "/graphql":
            return
        asked = MockRequest(
            HOST,
            request.method.lower(),
            request.path,
            args=request.query,
            data=json.dumps(request.body).encode() if request.body else b"",
        )
        try:
            self.api.validate_request(asked)
            schemas = self.description["components"]["schemas"]
            if status in (401, 403, 404, 502, 503):  # not all of them are listed at each path
                OAS30Validator(schemas["basic-error"]).validate(answer)
                return
            data = json.dumps(answer).encode()
            answered = MockResponse(data, status_code=status, content_type="application/json")
            self.api.validate_response(asked, answered)
        except Exception as error:
            causes = getattr(error.__cause__, "schema_errors", [error])
            told = "; ".join(f"{list(getattr(one, 'path', ''))} {one}"[:300] for one in causes)
            self.violations.append(f"{request.method} {request.path} {status}: {told}")


class Handler(http.server.BaseHTTPRequestHandler):
    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def respond(self) -> None:
        github = self.server.github
        split = urlsplit(self.path)
        body = self.body()
        request = Request(
            self.command, split.path, dict(parse_qsl(split.query)), json.loads(body or "{}")
        )
        with self.server.lock:
            github.requests.append(request)
            status, answer, headers = 0, None, {}
            fault = self.fault(request)
            if (self.headers.get("Authorization") or "").split(" ")[-1] != TOKEN:
                fault = Fault("", "", 401, {"message": "Bad credentials"})
            if fault is None or fault.carried_out:
                status, answer = github.answer(request)
                github.validate(request, status, answer)
            if fault is not None:
                fault.call()
                status, answer, headers = fault.status, fault.body, fault.headers
                if status:
                    github.validate(request, status, answer)
        if not status:
            self.connection.close()
            return
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = respond

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def fault(self, request: Request) -> Fault | None:
        for fault in self.server.github.faults:
            fits = fault.method == request.method and re.fullmatch(fault.path, request.path)
            if fault.times and fits:
                fault.times -= 1
                return fault
        return None


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, github: GitHub) -> None:
        self.github, self.lock = github, threading.Lock()
        super().__init__(os.fspath(github.socket), Handler)

    def handle_error(self, *_: Any) -> None:
        self.github.violations.append(traceback.format_exc())
