"""GitHub's REST API through the real `gh`, which has the account, the proxy and the token.

The token never passes through here: `gh` is given none and asked for none. What it prints
is taken apart into status, headers and JSON; every failure becomes one line.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

from pullrequests.errors import (
    GitHubError,
    NotFoundError,
    OfflineError,
    ServerError,
    UnprocessableError,
)

# Seconds between attempts where the server fails at something that may be repeated.
DELAYS = (1, 2, 4)
PER_PAGE = 100  # the most that GitHub hands out
HEADERS = ("Accept: application/vnd.github+json", "X-GitHub-Api-Version: 2022-11-28")
INSTALL = "install it from your distribution or https://cli.github.com, then run `gh auth login`"
# Where gh takes a token from.
TOKENS = ("GH_TOKEN", "GITHUB_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
# The forms of GitHub's tokens; nothing that looks like one is ever repeated.
_TOKEN = re.compile(r"\b(?:gh[a-z]_|github_pat_)\w+")
READY = (
    "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) "
    "{ pullRequest { isDraft } } }"
)


@dataclass(frozen=True)
class Call:
    """A request that changes something: shown before it is made, made as it was shown."""

    method: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class GitHub:
    """The API of a host."""

    host: str

    def get(self, path: str, **query: str | int) -> Any:
        """The resource at `path`; raises `GitHubError`."""
        return self.repeat(Call("GET", path + ("?" + urlencode(query) if query else ""), {}))

    def pages(self, path: str, **query: str | int) -> Iterator[Any]:
        """The items of a list, page after page."""
        page, full = 1, True
        while full:
            items = self.get(path, **query, per_page=PER_PAGE, page=page)
            yield from items
            page, full = page + 1, len(items) == PER_PAGE

    def repeat(self, call: Call) -> Any:
        """Make a call that may be made again, and is where the server fails."""
        for delay in DELAYS:
            try:
                return self._once(call)
            except ServerError:
                time.sleep(delay)
        return self._once(call)

    def create(self, call: Call, find: Callable[[], Any]) -> Any:
        """What `find` finds, else what `call` creates: a lost answer makes no second one."""
        for delay in (*DELAYS, 0):
            found = find()
            if found is not None:
                return found
            try:
                return self._once(call)
            except UnprocessableError:
                found = find()
                if found is None:
                    raise
                return found
            except ServerError as error:
                failed = error
                time.sleep(delay)
        raise failed

    def mark_ready(self, node: str) -> None:
        """Take a pull request out of draft: the one thing that REST cannot do."""
        answer = self._once(Call("POST", "graphql", {"query": READY, "variables": {"id": node}}))
        if answer.get("errors"):
            raise GitHubError(f"GitHub: {answer['errors'][0]['message']}: mark it ready there")

    def _once(self, call: Call) -> Any:
        command = ["gh", "api", "--hostname", self.host, "--include", "--method", call.method]
        command += [part for header in HEADERS for part in ("--header", header)]
        command += [call.path, *(("--input", "-") if call.body else ())]
        try:
            done = subprocess.run(
                command,
                env=_environment(),
                input=json.dumps(call.body) if call.body else "",
                capture_output=True,
                encoding="utf-8",
            )
        except FileNotFoundError:
            raise OfflineError(f"gh is not installed: {INSTALL}") from None
        answer = _parse(done.stdout)
        if answer is None:
            raise _unanswered(self.host, done.stderr)
        if answer.status >= 300:
            raise _failure(call, answer)
        return answer.body


def _environment() -> dict[str, str]:
    """Without what makes gh print requests, which hold the token, or change its manners."""
    dropped = ("GH_DEBUG", "DEBUG", "GH_FORCE_TTY", "GH_REPO", "GH_HOST", "CLICOLOR_FORCE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}


def _parse(said: str) -> Answer | None:
    """What `gh api --include` printed, or None where there was no answer."""
    head, _, body = said.replace("\r\n", "\n").partition("\n\n")
    found = re.match(r"HTTP/\S+ (\d{3})", head)
    if not found:
        return None
    pairs = (line.partition(":") for line in head.splitlines()[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    try:
        return Answer(int(found[1]), headers, json.loads(body) if body.strip() else None)
    except ValueError:  # a proxy or a failing server answers in HTML
        return Answer(int(found[1]), headers, None)


def redact(text: str) -> str:
    """One line without anything that looks like a token."""
    for token in filter(None, map(os.environ.get, TOKENS)):
        text = text.replace(token, "***")
    return _TOKEN.sub("***", " ".join(text.split()))


def _unanswered(host: str, said: str) -> GitHubError:
    if "gh auth login" in said or "GH_TOKEN" in said:  # the latter where gh finds itself in CI
        return OfflineError(f"gh is not logged in to {host}: run `gh auth login`")
    last = redact((said.strip().splitlines() or ["no output"])[0])
    return OfflineError(f"no answer from {host} ({last}): check the network and run again")


def _failure(call: Call, answer: Answer) -> GitHubError:
    content = answer.body if isinstance(answer.body, dict) else {}
    said = [str(content.get("message", f"status {answer.status}"))]
    for error in content.get("errors", ()):
        said.append(error if isinstance(error, str) else str(error.get("message", error)))
    what = redact(f"GitHub: {call.method} {call.path.partition('?')[0]}: {'; '.join(said)}")
    if answer.status == 401:
        return GitHubError(f"{what}: the token is not valid: run `gh auth login`")
    if answer.status in (404, 410):
        return NotFoundError(f"{what}: it is not there, or not for this account")
    if answer.status == 422:
        return UnprocessableError(f"{what}: mend that and run again")
    if answer.status >= 500:
        return ServerError(f"{what} (status {answer.status}): run again later")
    if answer.status == 429 or answer.headers.get("x-ratelimit-remaining") == "0":
        return GitHubError(f"{what}: run again {_when(answer.headers)}, it will go on from here")
    if "retry-after" in answer.headers:
        return GitHubError(f"{what}: run again in {answer.headers['retry-after']} s")
    return GitHubError(f"{what} (status {answer.status}): check what the token of gh may do")


def _when(headers: dict[str, str]) -> str:
    reset = headers.get("x-ratelimit-reset", "")
    if not reset.isdigit():
        return "later"
    at = datetime.fromtimestamp(int(reset), timezone.utc)
    return f"after {at:%H:%M} UTC"
