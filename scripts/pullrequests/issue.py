"""The issue that upstream wants before the pull request: drafted as a file, opened once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchstack.project import Project
from patchstack.series import Intent, Series, Topic
from pullrequests.errors import SubmissionError, TextError
from pullrequests.github import Call, GitHub
from pullrequests.record import Entry, Item, Record, Seen, State, now, write
from pullrequests.repository import repositories
from pullrequests.sections import (
    FAILURE_MODES,
    NON_GOALS,
    REPRODUCTION,
    ROOT_CAUSE,
    SUMMARY,
    Text,
    load_text,
)

# What the issue calls the sections of pr.md.
HEADINGS = {
    "Problem": ROOT_CAUSE,
    "Reproduction": REPRODUCTION,
    "Proposed change": SUMMARY,
    "Failure modes considered": FAILURE_MODES,
    "Not part of it": NON_GOALS,
}


def linked_issue(text: Text, entry: Entry) -> int | None:
    """The number by hand in series.toml or pr.md, else of the issue that was opened from here."""
    return text.topic.issue or text.issue or entry.issue


def draft_issue(project: Project, series: Series, topic: Topic) -> tuple[Path, Call]:
    """The topic's issue.md, drafted from pr.md if there is none, and the call that opens it."""
    file = project.patches / topic.name / "issue.md"
    if not file.is_file():
        text = load_text(project, topic)
        parts = [f"# {topic.title}"]
        for heading, section in HEADINGS.items():
            if text.has(section):
                parts.append(f"## {heading}\n\n{text.sections[section]}")
        write(file, "\n\n".join(parts) + "\n")
    title, _, content = file.read_text(encoding="utf-8").partition("\n")
    if not title.startswith("# ") or not content.strip():
        raise TextError(
            f"{project.show(file)}: the first line is '# ' and the title, the issue is below: mend "
            "it, or delete the file to have it drafted again"
        )
    body = f"{content.strip()}\n\n{_marker(topic)}\n"
    path = f"{repositories(series)[0].path}/issues"
    return file, Call("POST", path, {"title": title[2:].strip(), "body": body})


def open_issue(project: Project, series: Series, topic: Topic, call: Call) -> Iterator[str]:
    """Open it, unless the topic has one; says what was done."""
    if topic.intent is Intent.NEVER:
        raise SubmissionError(f"topic '{topic.name}' is never submitted: {topic.reason}")
    upstream, record = repositories(series)[0], Record(project)
    github = GitHub(upstream.host)

    def find() -> Any:
        """What an earlier run opened without coming to record it."""
        login = github.get("user")["login"]
        mine = github.pages(call.path, creator=login, state="all")
        return next((one for one in mine if _marker(topic) in (one["body"] or "")), None)

    with project.exclusive():
        number = linked_issue(load_text(project, topic), record.get(topic.name))
        if number is not None:
            yield f"{upstream.slug}#{number} is the topic's issue already"
            return
        issue = github.create(call, find)
        reference = f"{upstream.slug}#{issue['number']}"
        seen = Seen(kind=Item.ISSUE, state=State.OPEN, at=now())
        record.put(topic.name, issue=issue["number"], seen={reference: seen})
        yield f"{reference} is open: {issue['html_url']}"


def _marker(topic: Topic) -> str:
    """What tells our issue from others, should its number be lost."""
    return f"<!-- metaflow-perf: issue of {topic.name} -->"
