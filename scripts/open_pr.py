#!/usr/bin/env python3
"""Door: from a topic to its upstream issue and pull request."""

import json
from typing import Annotated

import typer

import door
from patchstack.project import Project
from patchstack.series import Series, Topic, load_series
from patchstack.source import pinned_source
from pullrequests.errors import ForeignCommitError
from pullrequests.gates import parse_override
from pullrequests.github import Call
from pullrequests.issue import draft_issue, open_issue
from pullrequests.sections import load_text, state_ai_usage
from pullrequests.submission import Plan, Prepared, Submission


def open_pr(
    topic_name: Annotated[
        str, typer.Argument(metavar="TOPIC", help="A topic of patches/series.toml.")
    ],
    issue: Annotated[
        bool,
        typer.Option(
            "--issue",
            help="The issue that upstream wants first, drafted in patches/TOPIC/issue.md, instead.",
        ),
    ] = False,
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Push to the fork, and open a draft or update what is open."),
    ] = False,
    ready: Annotated[
        bool,
        typer.Option(
            "--ready", help="Submit and take out of draft. Every gate must be green; takes minutes."
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--override",
            metavar="GATE=REASON",
            help="Go on without a gate. The reason is kept, and shown in the pull request.",
        ),
    ] = None,
    statement: Annotated[
        bool,
        typer.Option("--statement", help="Be asked how the code came about, as upstream asks."),
    ] = False,
    replaced: Annotated[
        str | None,
        typer.Option(
            "--replace",
            metavar="SHA",
            help="The commit on the fork's branch that is not ours, and that you have taken over.",
        ),
    ] = None,
) -> None:
    """Prepare the pull request of a topic; with --submit, open it as a draft or update it.

    Without --submit nothing outside of this checkout changes. The topic is built on the pin,
    every rule of upstream's is a gate with a verdict and a remedy, the body is written to
    `build/pull_requests/`, and what would be pushed and called is shown.

    Run it again whenever it was interrupted: it goes on, and opens nothing twice. On an update
    only the generated block of the body is replaced. The topic's branch is pushed to the fork
    of series.toml and to nothing else, and only over what was pushed from here.
    """
    project = door.project()
    reasons = dict(map(parse_override, overrides or ()))
    series = load_series(project)
    topic = series.topic(topic_name)
    if issue:
        return _issue(project, series, topic, submit)
    if statement:
        _ask(project, topic)
    submission = Submission(project, series, pinned_source(project, series.pin), topic)
    with door.progress.status(f"holding {topic.name} to upstream's rules"):
        prepared = submission.prepare(reasons, replaced, upstream_tests=ready)
    _show(project, prepared)
    if isinstance(prepared.plan, ForeignCommitError):
        door.out.print(prepared.plan.range_diff, markup=False)
    if submit or ready:
        for step in submission.submit(prepared, reasons, ready=ready):
            door.out.print(step, markup=False)
    return None


def _issue(project: Project, series: Series, topic: Topic, submit: bool) -> None:
    file, call = draft_issue(project, series, topic)
    where = project.show(file)
    door.out.print(call.body["body"], markup=False)
    door.out.print(f"from {where}: edit it there", markup=False)
    if not submit:
        door.out.print(_said(call, where), markup=False)
        return
    for step in open_issue(project, series, topic, call):
        door.out.print(step, markup=False)


def _ask(project: Project, topic: Topic) -> None:
    if load_text(project, topic).ai is not None:
        return
    used = typer.confirm("Were AI tools used in any part of this contribution?", default=None)
    description = ""
    if used:
        asked = ("Which ones?", "For what?", "Did you review, understand and test all of it?")
        description = "\n".join(f"- {question} {typer.prompt(question)}" for question in asked)
    state_ai_usage(project, topic, description)


def _show(project: Project, prepared: Prepared) -> None:
    for gate in prepared.gates:
        line = f"{gate.verdict.value:4}  {gate.name:12}  {gate.finding}"
        door.out.print(line.rstrip(), markup=False)
        if gate.remedy:
            door.out.print(f"{'':20}{gate.remedy}", markup=False)
    door.out.print(prepared.stat, markup=False)
    where = project.show(prepared.body_file)
    door.out.print(prepared.body_file.read_text(encoding="utf-8"), markup=False)
    door.out.print(f"body: {where}")
    plan = prepared.plan
    if not isinstance(plan, Plan):
        door.out.print(f"not to be submitted now: {plan}", markup=False)
        return
    if plan.edited:
        door.out.print("note: outside of the block GitHub has other text than pr.md: it stays")
    if plan.push.new != plan.push.old:
        door.out.print("git " + " ".join(plan.push.arguments), markup=False)
    if plan.call:
        door.out.print(_said(plan.call, where), markup=False)
    if plan.push.new == plan.push.old and not plan.call:
        door.out.print("nothing to push and nothing to call: all is there")


def _said(call: Call, body: str) -> str:
    content = {**call.body, "body": f"<{body}>"}
    return f"gh api --method {call.method} {call.path} {json.dumps(content, ensure_ascii=False)}"


if __name__ == "__main__":
    door.run(open_pr)
