"""A pull request as text: upstream's template, filled.

What is derived (results, commits, gates gone without) stands in one fenced block. It is all
that an update replaces: everything else belongs to whoever edits it on GitHub.
"""

import re
from collections.abc import Sequence

from patchstack.patch import Patch
from patchstack.series import Series, Topic
from pullrequests.errors import SubmissionError
from pullrequests.evidence import Evidence
from pullrequests.gates import Gate, Verdict
from pullrequests.sections import ISSUE, PR_TYPE, PR_TYPES, REPRODUCTION, Text

BEGIN = "<!-- metaflow-perf: generated, an update replaces all until the end mark -->"
END = "<!-- metaflow-perf: end -->"


def render_body(
    template: list[tuple[str, str]], text: Text, kind: str | None, issue: int | None, block: str
) -> str:
    """The whole body of a new pull request: every heading of the template, in its order."""
    parts = []
    for heading, blank in template:
        content = text.sections.get(heading) or blank
        if heading == PR_TYPE:
            content = _tick(blank, kind)
        if heading == ISSUE and issue is not None and text.issue is None:
            content = f"Fixes #{issue}\n\n{text.sections.get(ISSUE, '')}".strip()
        if heading == REPRODUCTION:
            content = f"{content}\n\n{block}".lstrip()
        parts.append(f"## {heading}\n\n{content}".strip())
    return "\n\n".join(parts) + "\n"


def _tick(blank: str, kind: str | None) -> str:
    boxes = blank or "\n".join(f"- [ ] {one}" for one in PR_TYPES)
    return boxes.replace(f"- [ ] {kind}", f"- [x] {kind}") if kind else boxes


def render_block(series: Series, topic: Topic, evidence: Evidence, gates: Sequence[Gate]) -> str:
    """What is derived from patches/, data/ and the gates."""
    lines = []
    if evidence.tables:
        lines += ["### Measurements", "", evidence.tables, ""]
    lines += ["### Commits", "", f"On {series.pin.release} ({series.pin.commit[:12]}):", ""]
    for patch in series.patches[topic.name]:
        subject, message = _escape(patch.subject), _message(patch)
        about = f"<details>\n<summary>{subject}</summary>\n\n{_quote(message)}\n\n</details>"
        lines.append(about if message else f"- {subject}")
    without = [gate for gate in gates if gate.verdict is Verdict.OVERRIDDEN]
    if without:
        lines += ["", "### Rules this does not meet, and why", ""]
        lines += [f"- {gate.name}: {gate.finding}; {gate.remedy}" for gate in without]
    # Marks within a commit message must not be taken for the block's own.
    inner = "\n".join(lines).replace("<!-- metaflow-perf:", "<! -- metaflow-perf:")
    return f"{BEGIN}\n{inner}\n{END}"


def replace_block(body: str, block: str, where: str) -> str:
    """`body` as it stands on GitHub with the new block in the place of the old one."""
    head, _, rest = body.partition(BEGIN)
    old, _, tail = rest.partition(END)
    # Each mark once: between two begin marks there may be text that people wrote.
    if (body.count(BEGIN), body.count(END), rest.count(END)) != (1, 1, 1):
        raise SubmissionError(
            f"the body of {where} does not hold the generated block once: let the lines "
            f"'{BEGIN}' and '{END}' stand where it should, each once, on GitHub, and run again"
        )
    # The web page sends other line ends: that is no change.
    same = f"{BEGIN}{old}{END}".replace("\r\n", "\n") == block
    return body if same else f"{head}{block}{tail}"


def without_block(body: str) -> str:
    """What people wrote, whatever line ends the web page gave it."""
    head, _, rest = body.partition(BEGIN)
    return (head + rest.partition(END)[2]).replace("\r\n", "\n").strip()


def _message(patch: Patch) -> str:
    """The commit message below its subject."""
    head = re.split(
        r"^(?:---$|diff --git )", patch.data.decode(errors="replace"), flags=re.MULTILINE
    )
    return head[0].partition("\n\n")[2].strip()


def _quote(text: str) -> str:
    # As code: a message is plain text, and its #12 and @names must link and notify nobody.
    fence = "`" * max(3, *(len(run) + 1 for run in ["", *re.findall("`+", text)]))
    return f"{fence}\n{text}\n{fence}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
