"""series.toml: what a good one says, and that every mistake is one line with its remedy."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox import Sandbox

from patchstack.errors import SeriesError
from patchstack.project import Project
from patchstack.series import Intent, load_series, rewritten_series

SERIES = """\
# By hand.
[pin]
repository = "https://upstream.invalid/metaflow"
release = "1.0"
commit = "0123456789abcdef0123456789abcdef01234567"
sdist_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

[fork]
repository = "https://fork.invalid/metaflow"

[integration]
branch = "perf/series"
wheel = 1

[[topic]]
name = "first"
title = "First"
branch = "perf/first"
intent = "submit"
reason = "measured"
issue = 12
pull_request = 34
patches = ["0001-a.patch", "0002-b.patch"]

[[topic]]
name = "second"
title = "Second"
branch = "perf/second"
depends_on = ["first"]
intent = "hold"
reason = "waits"
test_extras = ["lz4"]
patches = ["0001-c.patch"]

[[topic]]
name = "third"  # alone
title = "Third"
branch = "perf/third"
intent = "never"
reason = "for ourselves"
patches = ["0001-d.patch"]
"""
FILES = ("first/0001-a.patch", "first/0002-b.patch", "second/0001-c.patch", "third/0001-d.patch")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in FILES:
        file = tmp_path / "patches" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Subject: [PATCH] {name}\n\n---\n")
    (tmp_path / "patches" / "series.toml").write_text(SERIES)
    return Project(tmp_path)


def replace(project: Project, before: str, after: str) -> None:
    text = project.series_file.read_text()
    assert before in text
    project.series_file.write_text(text.replace(before, after, 1))


def mistake(project: Project) -> str:
    """The line that a door prints for the mistake in the series."""
    with pytest.raises(SeriesError) as caught:
        load_series(project)
    return str(caught.value)


def test_what_is_loaded(project: Project) -> None:
    series = load_series(project)
    assert [topic.name for topic in series.topics] == ["first", "second", "third"]
    first, second, third = series.topics
    assert (first.issue, first.pull_request, third.issue) == (12, 34, None)
    assert (first.intent, second.intent, third.intent) == tuple(Intent)
    assert second.depends_on == ("first",)
    assert second.test_extras == ("lz4",)
    assert [patch.name for patch in series.patches["first"]] == ["0001-a.patch", "0002-b.patch"]
    assert series.patches["third"][0].subject == "third/0001-d.patch"
    assert series.integration.wheel == 1


def test_a_topic_by_name(project: Project) -> None:
    series = load_series(project)
    assert series.topic("second").title == "Second"
    with pytest.raises(SeriesError, match=r"no topic 'seconds'.*first, second, third"):
        series.topic("seconds")


def test_a_closure_is_in_the_order_of_the_series(project: Project) -> None:
    replace(project, 'branch = "perf/third"', 'branch = "perf/third"\ndepends_on = ["second"]')
    series = load_series(project)
    names = [[one.name for one in series.closure(topic)] for topic in series.topics]
    assert names == [["first"], ["first", "second"], ["first", "second", "third"]]


def test_a_series_without_topics(project: Project) -> None:
    head, _, _ = SERIES.partition("[[topic]]")
    project.series_file.write_text(head)
    for name in FILES:
        (project.patches / name).unlink()
    assert load_series(project).topics == ()


@pytest.mark.parametrize("branch", ["x", "v1.0.x", "perf/a_b-C.9/d", "0/1"])
def test_branches_that_git_takes(project: Project, branch: str) -> None:
    replace(project, '"perf/first"', f'"{branch}"')
    assert load_series(project).topic("first").branch == branch


def test_a_topic_in_single_brackets(project: Project) -> None:
    head, _, _ = SERIES.partition("[[topic]]")
    project.series_file.write_text(head + '[topic]\nname = "first"\n')
    assert "a topic begins with [[topic]]" in mistake(project)


def test_other_files_beside_patches_are_welcome(project: Project) -> None:
    (project.patches / "first" / "pr.md").write_text("Why\n")
    (project.patches / ".staged").mkdir()
    (project.patches / ".staged" / "0009-x.patch").write_text("")
    assert len(load_series(project).topics) == 3


MISTAKES = [
    # Unknown keys, at each level.
    ("[pin]", "[pins]", "pin: ", "add the key"),
    ("# By hand.", "by_hand = 1", "by_hand: ", "remove the key, or correct its spelling"),
    ("[pin]", "[pin]\nbranch = 'x'", "pin.branch: ", "remove the key"),
    ("[fork]", "[fork]\nowner = 'x'", "fork.owner: ", "remove the key"),
    ("wheel = 1", "wheel = 1\nwheels = 2", "integration.wheels: ", "remove the key"),
    ('name = "first"', 'name = "first"\ndepends = []', "topic 'first'.depends: ", "remove the key"),
    # Missing keys.
    ('release = "1.0"\n', "", "pin.release: ", "add the key"),
    ('repository = "https://fork.invalid/metaflow"\n', "", "fork.repository: ", "add the key"),
    ("wheel = 1\n", "", "integration.wheel: ", "add the key"),
    ('name = "first"\n', "", "topic 'number 1'.name: ", "add the key"),
    ('title = "First"\n', "", "topic 'first'.title: ", "add the key"),
    ('reason = "waits"\n', "", "topic 'second'.reason: ", "add the key"),
    ('intent = "submit"\n', "", "topic 'first'.intent: ", "add the key"),
    # Wrong types.
    ('"1.0"', "1.0", "pin.release: ", "correct the value"),
    ("wheel = 1", 'wheel = "1"', "integration.wheel: ", "correct the value"),
    ("wheel = 1", "wheel = true", "integration.wheel: ", "correct the value"),
    ("wheel = 1", "wheel = 0", "integration.wheel: ", "correct the value"),
    ("issue = 12", "issue = 1.5", "topic 'first'.issue: ", "correct the value"),
    ("issue = 12", "issue = -1", "topic 'first'.issue: ", "correct the value"),
    ('title = "First"', "title = 1", "topic 'first'.title: ", "correct the value"),
    ('title = "First"', 'title = ""', "topic 'first'.title: ", "correct the value"),
    ('name = "first"', "name = 7", "topic '7'.name: ", "correct the value"),
    ('["first"]', '"first"', "topic 'second'.depends_on: ", "write a list"),
    ('["0001-c.patch"]', "[1]", "topic 'second'.patches.0: ", "correct the value"),
    # Values that cannot be meant.
    ('intent = "hold"', 'intent = "later"', "topic 'second'.intent: ", "correct the value"),
    ("cdef01234567", "cdef0123456", "pin.commit: ", "correct the value"),
    ('commit = "0123', 'commit = "XYZ3', "pin.commit: ", "correct the value"),
    ('sdist_sha256 = "01', 'sdist_sha256 = "0', "pin.sdist_sha256: ", "correct the value"),
    ('"1.0"', '"v1.0"', "pin.release: ", "correct the value"),
    ('name = "first"', 'name = "First one"', "topic 'First one'.name: ", "correct the value"),
    ('name = "first"', 'name = "../first"', "topic '../first'.name: ", "correct the value"),
    ('"0001-c.patch"', '"../first/0001-a.patch"', "topic 'second'.patches.0: ", "correct the"),
    ('"0001-c.patch"', '"c.patch"', "topic 'second'.patches.0: ", "correct the value"),
    ('"perf/first"', '"-force"', "topic 'first'.branch: ", "correct the value"),
    ('"perf/first"', '"perf/first "', "topic 'first'.branch: ", "correct the value"),
    ('"perf/first"', '"perf//first"', "topic 'first'.branch: ", "correct the value"),
    ('"perf/first"', '"perf/../first"', "topic 'first'.branch: ", "correct the value"),
    ('"perf/first"', '"perf/.first"', "topic 'first'.branch: ", "correct the value"),
    ('"perf/first"', '"perf/first.lock"', "topic 'first'.branch: ", "correct the value"),
    ('"perf/series"', '"perf/series.lock/x"', "integration.branch: ", "correct the value"),
    # Files.
    ('"0001-c.patch"', '"0001-x.patch"', "topic 'second': patches: no file ", "restore it"),
    ('"0001-a.patch", ', "", "no topic lists patches/first/0001-a.patch", "or delete it"),
    ('"0001-a.patch"', '"0002-b.patch"', "topic 'first': patches: ", "remove one"),
    # Dependencies.
    ('["first"]', '["firsts"]', "topic 'second': depends_on: no topic 'firsts'", "correct or"),
    ('["first"]', '["third"]', "topic 'second': depends_on: 'third' does not", "move it up"),
    ('["first"]', '["second"]', "topic 'second': depends_on: 'second' does not", "remove the"),
    (
        'branch = "perf/first"',
        'branch = "perf/first"\ndepends_on = ["second"]',
        "topic 'first': depends_on: 'second' does not stand before it (a cycle",
        "remove the dependency",
    ),
    # Names that are taken.
    ('name = "third"', 'name = "first"', "topic 'first': name: used twice", "rename one"),
    ('"perf/third"', '"perf/first"', "topic 'third': branch: ", "give each its own"),
    ('"perf/third"', '"perf/series"', "the integration branch", "give each its own"),
    ('"perf/third"', '"perf/first/more"', "topic 'third': branch: ", "rename one"),
    ('"perf/first"', '"perf/third/more"', "topic 'third': branch: ", "rename one"),
    ('"perf/third"', '"perf"', "topic 'third': branch: ", "rename one"),
    ('"perf/third"', '"perf/series/x"', "topic 'third': branch: ", "rename one"),
    # Shapes.
    ("[[topic]]", "[topic]", "not TOML", "correct the syntax"),
    ("[pin]", "[pin", "not TOML", "correct the syntax"),
    ('release = "1.0"', 'release = "1.0"\nrelease = "1.1"', "not TOML", "correct the syntax"),
]


@pytest.mark.parametrize(("before", "after", "key", "remedy"), MISTAKES)
def test_a_mistake_is_one_line_with_file_key_and_remedy(
    project: Project, before: str, after: str, key: str, remedy: str
) -> None:
    replace(project, before, after)
    line = " ".join(mistake(project).split())
    assert line.startswith("patches/series.toml: ")
    assert key in line
    assert remedy in line


def test_the_order_of_topics_counts_not_the_order_of_keys(project: Project) -> None:
    head, *tables = SERIES.split("[[topic]]\n")
    project.series_file.write_text("[[topic]]\n".join([head, tables[1], tables[0], tables[2]]))
    assert "topic 'second': depends_on: 'first' does not stand before it" in mistake(project)


@pytest.mark.parametrize("topics", ['["x"]', "[1, 2]", '"x"', "7", "{}", "[[]]"])
def test_topics_that_are_no_tables(project: Project, topics: str) -> None:
    head, _, _ = SERIES.partition("[[topic]]")
    project.series_file.write_text(f"topic = {topics}\n{head}")
    assert mistake(project).startswith("patches/series.toml: topic")


def test_a_series_that_is_not_utf_8(project: Project) -> None:
    project.series_file.write_bytes(SERIES.replace("First", "Größe").encode("latin-1"))
    line = mistake(project)
    assert line.startswith("patches/series.toml: ")
    assert "utf-8" in line


def test_a_series_that_cannot_be_read(project: Project) -> None:
    project.series_file.unlink()
    assert mistake(project) == "patches/series.toml: No such file or directory: restore it with git"


def test_a_patch_that_no_topic_lists_in_a_folder_of_its_own(project: Project) -> None:
    (project.patches / "deep" / "er").mkdir(parents=True)
    (project.patches / "deep" / "er" / "0001-x.patch").write_text("")
    assert "no topic lists patches/deep/er/0001-x.patch" in mistake(project)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text + "[",
        lambda text: text.replace('intent = "submit"', 'intent = """\nmany\nlines"""'),
        lambda text: text.replace("0001-c.patch", "0001-x.patch"),
    ],
    ids=["syntax", "value of many lines", "file"],
)
@pytest.mark.parametrize("door", ["apply_patches", "export_patches"])
def test_the_doors_say_it_in_one_line(
    make_sandbox: Callable[..., Sandbox], door: str, damage: Callable[[str], str]
) -> None:
    sandbox = make_sandbox("submodule")
    sandbox.project.series_file.write_text(damage(SERIES))
    line = sandbox.refused(door)
    assert "patches/series.toml: " in line
    assert re.search("correct|restore", line)


# Writing it back.


def test_rewriting_without_a_change_keeps_every_byte(project: Project) -> None:
    series = load_series(project)
    assert rewritten_series(project, series.topics, series.pin) == SERIES.encode()


def test_rewriting_changes_what_is_new_and_nothing_else(project: Project) -> None:
    series = load_series(project)
    first, second, _ = series.topics
    pin = series.pin.model_copy(update={"release": "1.1"})
    changed = first.model_copy(update={"patches": ("0001-z.patch",)})
    text = rewritten_series(project, (changed, second), pin).decode()
    head, _, _ = SERIES.partition('[[topic]]\nname = "third"')
    expected = head.replace('"1.0"', '"1.1"').replace(
        '["0001-a.patch", "0002-b.patch"]', '["0001-z.patch"]'
    )
    assert text.strip() == expected.strip()
