"""A topic's pull request: prepared in full, then carried out as it was shown.

Every step leaves what it did in the record before the next one begins, and looks for what
an earlier run may have made before it makes anything: a run that is killed anywhere is
continued by the next, and nothing is ever opened twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchstack.errors import PatchStackError
from patchstack.git import scratch
from patchstack.prefix import digest_patches
from patchstack.project import Project
from patchstack.series import Intent, Series, Topic
from patchstack.source import Kind, Source
from patchstack.stack import Builder
from pullrequests import body, gates
from pullrequests.errors import PushError, SubmissionError
from pullrequests.evidence import read_evidence
from pullrequests.fork import Push, carry_out, refuse_foreign, remote_branch
from pullrequests.gates import Gate
from pullrequests.github import Call, GitHub
from pullrequests.issue import linked_issue
from pullrequests.record import Entry, Item, Record, Seen, State, now, write
from pullrequests.repository import repositories
from pullrequests.sections import load_template, load_text


@dataclass(frozen=True)
class Plan:
    """What a submission would do outside."""

    push: Push
    # None where the pull request is there and its body needs no change.
    call: Call | None
    existing: Any
    # The body as it will stand on GitHub.
    body: str
    # Outside of the block it is not what pr.md would give: that stays.
    edited: bool


@dataclass(frozen=True)
class Prepared:
    """All that a submission is made of; `plan` is the reason where there can be none now."""

    gates: tuple[Gate, ...]
    stat: str
    block: str
    body_file: Path
    plan: Plan | PatchStackError


class Submission:
    """A topic on its way to upstream."""

    def __init__(self, project: Project, series: Series, source: Source, topic: Topic) -> None:
        self.project, self.series, self.source, self.topic = project, series, source, topic
        self.upstream, self.fork = repositories(series)
        self.github = GitHub(self.upstream.host)
        self.record = Record(project)

    @property
    def entry(self) -> Entry:
        return self.record.get(self.topic.name)

    def prepare(
        self, reasons: dict[str, str], replaced: str | None = None, *, upstream_tests: bool = False
    ) -> Prepared:
        """Look at everything and change nothing but the file with the body, under build/.

        `reasons` are overrides of gates, beside those on record. `replaced` is a commit on the
        fork's branch that is not ours and may go.
        """
        series, topic = self.series, self.topic
        template = load_template(self.source)
        text = load_text(self.project, topic).without_blanks(template)
        evidence = read_evidence(self.project, series, topic)
        issue = linked_issue(text, self.entry)
        reasons = {**self.entry.overrides, **reasons}
        found = [*gates.judge_text(series, text, evidence)]
        found.append(gates.judge_issue(self.github, series, text, issue))
        judged = gates.override(found, reasons)
        # They take minutes: not before all that is cheaper is green.
        upstream_tests = upstream_tests and all(gate.passed for gate in judged)
        checked = gates.judge_patches(
            self.project, series, self.source, topic, upstream_tests=upstream_tests
        )
        judged += gates.override([*checked], reasons)
        block = body.render_block(series, topic, evidence, judged)
        kind = text.kind(bool(gates.core_paths(series.patches[topic.name])))
        rendered = body.render_body(template, text, kind, issue, block)
        with (
            self.project.exclusive(),
            scratch(self.project, self.source.repo, keep_objects=True) as repo,
        ):
            _, tip = Builder(repo, self.source, series).branch(topic)
            stat = repo.git("diff", "--stat=100", self.source.base, tip).decode(errors="replace")
        plan: Plan | PatchStackError
        try:
            plan = self._plan(tip, replaced, rendered, block)
        except PatchStackError as error:
            plan = error
        file = self.project.build / "pull_requests" / f"{topic.name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, plan.body if isinstance(plan, Plan) else rendered)
        return Prepared(tuple(judged), stat, block, file, plan)

    def submit(self, prepared: Prepared, reasons: dict[str, str], *, ready: bool) -> Iterator[str]:
        """Push, open or update, and with `ready` take out of draft; says each step it did."""
        self._refuse(prepared, ready)
        plan, series = prepared.plan, self.series
        if not isinstance(plan, Plan):
            raise plan
        name, tip, number = self.topic.name, plan.push.new, f"{self.upstream.slug}#"
        with self.project.exclusive():
            # Before the push, so that a kill behind it leaves no commit that is not known as ours.
            self.record.put(name, overrides=reasons, pushed=plan.push.old, pushing=tip)
            with scratch(self.project, self.source.repo, keep_objects=False) as repo:
                pushed = carry_out(repo, plan.push)
            made_of = {
                "pin": series.pin.commit,
                "patches": digest_patches(series, series.closure(self.topic)),
            }
            self.record.put(name, pushed=tip, pushing=None, **made_of)
            yield f"{'pushed' if pushed else 'already pushed'} {tip[:12]} to {self.fork.slug}"
            if plan.existing is None and plan.call:
                pull, did = self.github.create(plan.call, self._find_pull), "opened"
            else:
                # Looked at again: people may have edited it since it was shown.
                pull = self.github.get(f"{self.upstream.path}/pulls/{plan.existing['number']}")
                call, did = self._update(pull, prepared.block), "up to date"
                if call:
                    pull, did = self.github.repeat(call), "updated"
            yield f"{did}: {number}{pull['number']}, {pull['html_url']}"
            self._remember_pull(pull, tip, draft=pull["draft"])
            if ready and pull["draft"]:
                self.github.mark_ready(pull["node_id"])
                self._remember_pull(pull, tip, draft=False)
                yield f"{number}{pull['number']} is ready for review"

    def _plan(self, tip: str, replaced: str | None, rendered: str, block: str) -> Plan:
        upstream = self.github.get(self.upstream.path)
        fork = self.github.get(self.fork.path)
        parent = (fork.get("parent") or {}).get("full_name", "nothing")
        if not self.fork.same(fork["full_name"]) or not self.upstream.same(parent):
            raise PushError(
                f"{self.fork.slug} is {fork['full_name']}, a fork of {parent}, on GitHub: correct "
                "fork.repository in patches/series.toml"
            )
        existing = self._find_pull()
        entry = self.entry
        ours = [sha for sha in (entry.pushed, entry.pushing, replaced) if sha]
        with scratch(self.project, self.source.repo, keep_objects=False) as repo:
            old = remote_branch(repo, self.fork, self.topic.branch)
            push = Push(self.fork, self.topic.branch, tip, old)
            refuse_foreign(repo, push, self.source.base, ours)
        if existing is None:
            head = f"{self.fork.owner}:{self.topic.branch}"
            content = {"title": self.topic.title, "head": head, "base": upstream["default_branch"]}
            new = {**content, "body": rendered, "draft": True, "maintainer_can_modify": True}
            call = Call("POST", f"{self.upstream.path}/pulls", new)
            return Plan(push, call, None, rendered, edited=False)
        update = self._update(existing, block)
        stands = update.body["body"] if update else existing["body"]
        edited = body.without_block(stands) != body.without_block(rendered)
        return Plan(push, update, existing, stands, edited)

    def _update(self, pull: Any, block: str) -> Call | None:
        """The call that brings the block up to date in the body of `pull`, if it is not."""
        before, number = pull["body"] or "", pull["number"]
        after = body.replace_block(before, block, f"{self.upstream.slug}#{number}")
        call = Call("PATCH", f"{self.upstream.path}/pulls/{number}", {"body": after})
        return None if after == before else call

    def _find_pull(self) -> Any:
        """The open pull request of the topic's branch, or None; a closed one ends it here."""
        label = f"{self.fork.owner}:{self.topic.branch}"
        # GitHub answers with every pull request there is where it does not know the head.
        pulls = [
            pull
            for pull in self.github.pages(f"{self.upstream.path}/pulls", state="all", head=label)
            if pull["head"]["label"].lower() == label.lower()
        ]
        for pull in pulls:
            if pull["state"] == "open":
                return pull
        if not pulls:
            return self._refuse_other_branch(label)
        name = f"{self.upstream.slug}#{pulls[0]['number']}"
        if pulls[0]["merged_at"]:
            raise SubmissionError(f"{name} is merged: take the topic out at the next rebase")
        raise SubmissionError(
            f"{name} was closed upstream: settle it there and have it reopened; a new attempt is a "
            "new branch of the topic in patches/series.toml"
        )

    def _refuse_other_branch(self, label: str) -> None:
        """Beside an open pull request from another branch, a topic gets no second one."""
        for number in {self.topic.pull_request, self.entry.pull_request} - {None}:
            pull = self.github.get(f"{self.upstream.path}/pulls/{number}")
            if pull["state"] == "open" and pull["head"]["label"].lower() != label.lower():
                raise SubmissionError(
                    f"{self.upstream.slug}#{number} is open from {pull['head']['label']}: close "
                    "it, or give the topic that branch in patches/series.toml"
                )

    def _refuse(self, prepared: Prepared, ready: bool) -> None:
        if self.topic.intent is not Intent.SUBMIT:
            raise SubmissionError(
                f"topic '{self.topic.name}' has intent '{self.topic.intent.value}': "
                f'{self.topic.reason}; if that is settled, set intent = "submit"'
            )
        if self.source.kind is Kind.SDIST:
            raise SubmissionError(
                "an sdist has no history that a branch could stand on: run `git submodule update "
                "--init` and make apply first"
            )
        closed = [f"{gate.name} ({gate.finding})" for gate in prepared.gates if not gate.passed]
        if ready and closed:
            raise SubmissionError(
                f"not ready: {'; '.join(closed)}: see the remedies above, or give a reason with "
                "--override"
            )

    def _remember_pull(self, pull: Any, tip: str, *, draft: bool) -> None:
        state = State.DRAFT if draft else State.OPEN
        seen = Seen(kind=Item.PULL, state=state, at=now(), head=tip)
        reference = f"{self.upstream.slug}#{pull['number']}"
        self.record.put(self.topic.name, pull_request=pull["number"], seen={reference: seen})
