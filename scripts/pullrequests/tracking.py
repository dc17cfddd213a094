"""What became of the issues and pull requests of every topic.

The record keeps what was last seen and when; the table in status.md is derived from the
record and series.toml alone, so that it can be rebuilt without a network.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.blocks import fill_block
from patchstack.prefix import digest_patches
from patchstack.project import Project
from patchstack.series import Series, Topic
from pullrequests.errors import NotFoundError
from pullrequests.github import GitHub
from pullrequests.record import Entry, Item, Record, Seen, State, now, write
from pullrequests.repository import repositories

COLUMNS = ("topic", "where", "state", "review", "checks", "last comment", "branch", "seen")


@dataclass(frozen=True)
class Standing:
    """Where one issue or pull request of a topic stands; `branch` is ours beside upstream's."""

    topic: str
    reference: str
    seen: Seen
    branch: str


def refresh(series: Series, record: Record) -> Iterator[str]:
    """Ask GitHub about everything on record; says what is not there. Raises `GitHubError`."""
    github = GitHub(repositories(series)[0].host)
    for topic in series.topics:
        for reference, before in known(series, topic, record.get(topic.name)).items():
            try:
                seen = _look(github, reference, before.kind)
            except NotFoundError as error:
                yield str(error)
                continue
            record.put(topic.name, seen={reference: seen})


def known(series: Series, topic: Topic, entry: Entry) -> dict[str, Seen]:
    """What there is to look at: what series.toml names, and what the record holds."""
    slug = repositories(series)[0].slug
    unseen: dict[str, Seen] = {}
    for number in filter(None, (topic.issue, entry.issue)):
        unseen[f"{slug}#{number}"] = Seen(kind=Item.ISSUE)
    for number in filter(None, (topic.pull_request, entry.pull_request)):
        unseen[f"{slug}#{number}"] = Seen(kind=Item.PULL)
    return unseen | entry.seen


def standings(project: Project, series: Series) -> list[Standing]:
    """Every topic's issues and pull requests as they were last seen."""
    entries = Record(project).entries()
    found = []
    for topic in series.topics:
        entry = entries.get(topic.name, Entry())
        own = f"{repositories(series)[0].slug}#{entry.pull_request}"
        for reference, seen in known(series, topic, entry).items():
            branch = _branch(series, topic, entry, seen) if reference == own else ""
            found.append(Standing(topic.name, reference, seen, branch))
    return found


def rewrite_status(project: Project, standings: list[Standing]) -> bool:
    """Put the table into status.md; whether that changed anything."""
    file = project.root / "status.md"
    text = file.read_bytes().decode()
    lines = ["| " + " | ".join(cells) + " |" for cells in (COLUMNS, ("---",) * len(COLUMNS))]
    lines += ["| " + " | ".join(cells(one)) + " |" for one in standings]
    new = fill_block(text, "pull-requests", "\n".join(lines), Path("status.md"))
    if new != text:
        write(file, new)
    return new != text


def cells(standing: Standing) -> tuple[str, ...]:
    """A row of the table, in the order of `COLUMNS`."""
    seen = standing.seen
    landed = ": remove it at the next rebase" if seen.state is State.MERGED else ""
    what, state = f"{seen.kind.value} {standing.reference}", seen.state.value + landed
    row = (standing.topic, what, state, seen.review, seen.checks, seen.comment, standing.branch)
    return (*row, seen.at or "not verified yet")


def _branch(series: Series, topic: Topic, entry: Entry, seen: Seen) -> str:
    found = []
    if seen.head and seen.head != entry.pushed:
        found.append(f"others pushed {seen.head[:12]}")
    if entry.pin != series.pin.commit:
        found.append("behind the pin")
    if entry.patches != digest_patches(series, series.closure(topic)):
        found.append("patches/ is ahead")
    return ", ".join(found) or "as pushed"


def _look(github: GitHub, reference: str, kind: Item) -> Seen:
    slug, _, number = reference.partition("#")
    # A fork usually has its issues switched off: a pull request is asked for as such.
    if kind is Item.ISSUE:
        issue = github.get(f"repos/{slug}/issues/{number}")
        comment = _last_comment(github, slug, number, issue["comments"])
        return Seen(kind=Item.ISSUE, state=State(issue["state"]), at=now(), comment=comment)
    pull = github.get(f"repos/{slug}/pulls/{number}")
    head = pull["head"]["sha"]
    state = State.MERGED if pull["merged_at"] else State(pull["state"])
    runs = github.get(f"repos/{slug}/commits/{head}/check-runs", per_page=100)["check_runs"]
    return Seen(
        kind=Item.PULL,
        state=State.DRAFT if state is State.OPEN and pull["draft"] else state,
        at=now(),
        review=_review(github.pages(f"repos/{slug}/pulls/{number}/reviews")),
        checks=_checks(runs),
        comment=_last_comment(github, slug, number, pull["comments"]),
        head=head,
    )


def _last_comment(github: GitHub, slug: str, number: str, count: int) -> str:
    path = f"repos/{slug}/issues/{number}/comments"
    last = github.get(path, per_page=1, page=count) if count else []
    return "".join(f"{_login(one)} {one['created_at'][:10]}" for one in last)


def _review(reviews: Iterator[Any]) -> str:
    """The last word of every reviewer; a plain comment takes back neither approval nor refusal."""
    words = {}
    for review in reviews:
        if review["state"] != "COMMENTED" or _login(review) not in words:
            words[_login(review)] = review["state"].lower().replace("_", " ")
    counted = Counter(word for word in words.values() if word not in ("dismissed", "pending"))
    return ", ".join(f"{count} {word}" for word, count in sorted(counted.items()))


def _checks(runs: list[Any]) -> str:
    words = (str(run["conclusion"] or run["status"]).replace("_", " ") for run in runs)
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))


def _login(one: Any) -> str:
    return str((one["user"] or {}).get("login", "somebody"))
