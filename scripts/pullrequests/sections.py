"""What people write: the sections of upstream's pull request template, and the template.

The template is read from upstream's source at the pin. An sdist does not have it; there its
headings, which are facts that upstream.md lists, stand in, and nothing can be submitted.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from patchstack.project import Project
from patchstack.series import Topic
from patchstack.source import Source
from pullrequests.errors import TextError
from pullrequests.record import write

TEMPLATE = ".github/pull_request_template.md"
PR_TYPE = "PR Type"
SUMMARY = "Summary"
ISSUE = "Issue"
REPRODUCTION = "Reproduction"
ROOT_CAUSE = "Root Cause"
CORRECT = "Why This Fix Is Correct"
FAILURE_MODES = "Failure Modes Considered"
TESTS = "Tests"
NON_GOALS = "Non-Goals"
AI = "AI Tool Usage"
HEADINGS = (
    *(PR_TYPE, SUMMARY, ISSUE, REPRODUCTION, ROOT_CAUSE),
    *(CORRECT, FAILURE_MODES, TESTS, NON_GOALS, AI),
)
CORE_RUNTIME = "Core Runtime change"
BUG_FIX = "Bug fix"
PR_TYPES = (BUG_FIX, "New feature", CORE_RUNTIME, "Docs / tooling", "Refactoring")
AI_NONE = "No AI tools were used in this contribution"
AI_USED = "AI tools were used (describe below)"

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ENTRY = re.compile(r"^\d+\.[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True)
class Text:
    """What a topic's pr.md says, by heading."""

    topic: Topic
    sections: dict[str, str]

    def has(self, heading: str) -> bool:
        """Whether a person wrote something there: comments of the template are nothing."""
        return bool(_COMMENT.sub("", self.sections.get(heading, "")).strip())

    def without_blanks(self, template: list[tuple[str, str]]) -> "Text":
        """Without the sections that are the template's, word for word: nobody wrote them."""
        blank = dict(template)
        written = {
            heading: content
            for heading, content in self.sections.items()
            if content.strip() != blank.get(heading, "").strip()
        }
        return replace(self, sections=written)

    @property
    def failure_modes(self) -> int:
        return len(_ENTRY.findall(_without_code(self.sections.get(FAILURE_MODES, ""))))

    @property
    def issue(self) -> int | None:
        found = re.search(r"\b(?:Fixes|Closes|Resolves) #(\d+)", self.sections.get(ISSUE, ""))
        return int(found[1]) if found else None

    def kind(self, core: bool) -> str | None:
        """The type to tick: Core Runtime where the paths say so, else what pr.md says."""
        if core:
            return CORE_RUNTIME
        said = self.sections.get(PR_TYPE, "").lower()
        named = [kind for kind in PR_TYPES if kind.lower() in said]
        return named[0] if len(named) == 1 else None

    @property
    def ai(self) -> Literal["none", "used"] | None:
        """What the contributor stated, or None while there is no statement."""
        said = self.sections.get(AI, "")
        none, used = (
            re.search(rf"^- \[[xX]\] {re.escape(box)}", said, re.MULTILINE)
            for box in (AI_NONE, AI_USED)
        )
        described = re.sub(r"^- \[.\].*$", "", _COMMENT.sub("", said), flags=re.MULTILINE).strip()
        if none and not used:
            return "none"
        return "used" if used and not none and described else None


def load_text(project: Project, topic: Topic) -> Text:
    """The topic's pr.md; every heading in it is one of the template's, once."""
    file = project.patches / topic.name / "pr.md"
    try:
        sections = split(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TextError(
            f"no {project.show(file)}: write it, with upstream's headings: {', '.join(HEADINGS)}"
        ) from None
    for heading, _ in sections:
        if heading not in HEADINGS:
            raise TextError(
                f"{project.show(file)}: '{heading or 'text before the first heading'}' is none of "
                f"upstream's headings ({', '.join(HEADINGS)}): move the text under one of them"
            )
        if [name for name, _ in sections].count(heading) > 1:
            raise TextError(f"{project.show(file)}: '{heading}' stands twice: make it one")
    return Text(topic, dict(sections))


def load_template(source: Source) -> list[tuple[str, str]]:
    """Headings of upstream's template, and what stands under each."""
    content = source.file(TEMPLATE)
    if content is None:
        return [(heading, "") for heading in HEADINGS]
    template = split(content.decode())
    missing = set(HEADINGS) - {heading for heading, _ in template}
    if missing:
        raise TextError(
            f"upstream's template at {source.release} has no '{sorted(missing)[0]}' any more: "
            "adapt scripts/pullrequests/sections.py"
        )
    return template


def split(markdown: str) -> list[tuple[str, str]]:
    """Headings of the second level, in order, with the text below; "" for text before them."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    fence = ""
    for line in markdown.replace("\r\n", "\n").split("\n"):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == mark[1] and mark[1].startswith(fence):
            fence = ""
        if not fence and line.startswith("## "):
            sections.append((line[3:].strip(), []))
        else:
            sections[-1][1].append(line)
    texts = [(heading, "\n".join(lines).strip("\n")) for heading, lines in sections]
    return texts if texts[0][1] else texts[1:]


def state_ai_usage(project: Project, topic: Topic, description: str) -> None:
    """Put the contributor's statement into pr.md; no description states that none were used."""
    file = project.patches / topic.name / "pr.md"
    boxes = [
        f"- [{' ' if description else 'x'}] {AI_NONE}",
        f"- [{'x' if description else ' '}] {AI_USED}",
    ]
    statement = "\n".join(boxes) + (f"\n\n{description}" if description else "")
    # The heading may be there, with the template's empty boxes.
    sections = {**dict(split(file.read_text(encoding="utf-8"))), AI: statement}
    parts = [f"## {heading}\n\n{content}".strip() for heading, content in sections.items()]
    write(file, "\n\n".join(parts) + "\n")


def _without_code(markdown: str) -> str:
    return re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
