"""`patches/series.toml`: the pin and the topics, in order, as people intend them.

Whatever is wrong in it is found when it is loaded, before anything is built from it, and
said in one line that names the file, the key and the remedy.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from tomlkit.exceptions import TOMLKitError

from patchstack.errors import SeriesError
from patchstack.patch import Patch
from patchstack.project import Project


def _not_a_lock(branch: str) -> str:
    if any(part.endswith(".lock") for part in branch.split("/")):
        raise ValueError("names that end in .lock are git's own")
    return branch


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
# A package, from a version on: uv may choose an ancient one to please another.
Requirement = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*(>=[0-9.]+)?$")]
# Git's rules for names of refs, without what a shell would need quoted.
_PART = r"[a-zA-Z0-9_-]*(\.[a-zA-Z0-9_-]+)*"
Branch = Annotated[
    str,
    Field(pattern=rf"^[a-z0-9]{_PART}(/[a-zA-Z0-9_-]{_PART})*$"),
    AfterValidator(_not_a_lock),
]
Sha1 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PatchName = Annotated[str, Field(pattern=r"^\d{4}-[^/]*\.patch$")]
Number = Annotated[int, Field(gt=0)]
RELEASE = r"\d+(\.\d+)+"

REMEDIES = {
    "extra_forbidden": "remove the key, or correct its spelling",
    "missing": "add the key",
    "string_pattern_mismatch": "correct the value",
    "tuple_type": "write a list",
}


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Intent(str, Enum):
    """What a topic is for: an upstream PR now, one later, or none at all."""

    SUBMIT = "submit"
    HOLD = "hold"
    NEVER = "never"


class Pin(Table):
    """The upstream release that the series applies to."""

    repository: str
    release: Annotated[str, Field(pattern=f"^{RELEASE}$")]
    commit: Sha1
    sdist_sha256: Sha256


class Fork(Table):
    """The only repository that branches may be pushed to."""

    repository: str


class Integration(Table):
    """The branch with the whole series, and the N of the wheel's `+perf.N`."""

    branch: Branch
    wheel: Number


class Topic(Table):
    """One logical change: one branch, one upstream PR."""

    name: Name
    title: Annotated[str, Field(min_length=1)]
    branch: Branch
    depends_on: tuple[Name, ...] = ()
    intent: Annotated[Intent, Field(strict=False)]
    reason: Annotated[str, Field(min_length=1)]
    issue: Number | None = None
    pull_request: Number | None = None
    # Extras of the patched distribution that the topic's own tests need.
    test_extras: tuple[Name, ...] = ()
    # Packages that they need and that are no extra.
    test_packages: tuple[Requirement, ...] = ()
    # None yet where the topic has only begun: its first export lists them.
    patches: tuple[PatchName, ...] = ()


class SeriesFile(Table):
    pin: Pin
    fork: Fork
    integration: Integration
    topic: tuple[Topic, ...] = ()


@dataclass(frozen=True)
class Series:
    """The series as loaded: what series.toml says, and the patches of every topic by name."""

    pin: Pin
    fork: Fork
    integration: Integration
    topics: tuple[Topic, ...]
    patches: dict[str, tuple[Patch, ...]]

    def topic(self, name: str) -> Topic:
        for topic in self.topics:
            if topic.name == name:
                return topic
        known = ", ".join(topic.name for topic in self.topics) or "none"
        raise SeriesError(f"no topic '{name}' in patches/series.toml; topics are: {known}")

    def closure(self, topic: Topic) -> tuple[Topic, ...]:
        """`topic` and all it depends on, in the order of the series."""
        names = {topic.name}
        for earlier in reversed(self.topics):  # dependencies stand before their users
            if earlier.name in names:
                names.update(earlier.depends_on)
        return tuple(one for one in self.topics if one.name in names)


def load_series(project: Project) -> Series:
    """Read and validate `patches/`; `SeriesError` names the first mistake."""
    where = project.show(project.series_file)
    if project.staged_plan.is_file():
        raise SeriesError("patches/: an export was interrupted: run make apply")
    try:
        document = tomlkit.parse(project.series_file.read_text(encoding="utf-8")).unwrap()
    except OSError as error:
        raise SeriesError(f"{where}: {error.strerror}: restore it with git") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise SeriesError(f"{where}: not TOML: {error}: correct the syntax") from None
    try:
        # In lax mode a TOML array may stand where a tuple is declared.
        content = SeriesFile.model_validate(_tuples(document))
    except ValidationError as error:
        raise SeriesError(f"{where}: {_first_mistake(error, document)}") from None
    _check_topics(where, content)
    patches = {topic.name: _read_patches(project, topic) for topic in content.topic}
    _check_no_stray_files(project, content)
    return Series(
        pin=content.pin,
        fork=content.fork,
        integration=content.integration,
        topics=content.topic,
        patches=patches,
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _first_mistake(error: ValidationError, document: Any) -> str:
    mistake = error.errors(include_url=False)[0]
    parts = list(mistake["loc"])
    if len(parts) > 1 and parts[0] == "topic" and isinstance(parts[1], int):
        table, number = document["topic"][parts[1]], f"number {parts[1] + 1}"
        name = table.get("name", number) if isinstance(table, dict) else number
        parts[:2] = [f"topic '{name}'"]
    key = ".".join(str(part) for part in parts)
    value = "" if isinstance(mistake["input"], dict) else f" (is {mistake['input']!r})"
    remedy = REMEDIES.get(mistake["type"], "correct the value")
    if mistake["loc"] == ("topic",):
        remedy = "a topic begins with [[topic]], in double brackets"
    return f"{key}: {mistake['msg']}{value}: {remedy}"


def _check_topics(where: str, content: SeriesFile) -> None:
    seen: set[str] = set()
    branches = {content.integration.branch: "the integration branch"}
    names = {topic.name for topic in content.topic}
    for topic in content.topic:
        key = f"{where}: topic '{topic.name}'"
        if topic.name in seen:
            raise SeriesError(f"{key}: name: used twice: rename one")
        if topic.branch in branches:
            raise SeriesError(
                f"{key}: branch: '{topic.branch}' is also the branch of {branches[topic.branch]}: "
                "give each its own"
            )
        for taken, owner in branches.items():
            # git keeps refs as files: a/b and a/b/c cannot both exist.
            if (topic.branch + "/").startswith(taken + "/") or taken.startswith(topic.branch + "/"):
                raise SeriesError(
                    f"{key}: branch: '{topic.branch}' and '{taken}' of {owner} cannot both exist "
                    "in git: rename one"
                )
        _check_dependencies(key, topic, names, seen)
        if len(set(topic.patches)) < len(topic.patches):
            raise SeriesError(f"{key}: patches: a file is listed twice: remove one")
        seen.add(topic.name)
        branches[topic.branch] = f"topic '{topic.name}'"


def _check_dependencies(key: str, topic: Topic, names: set[str], seen: set[str]) -> None:
    for needed in topic.depends_on:
        if needed not in names:
            raise SeriesError(f"{key}: depends_on: no topic '{needed}': correct or remove it")
        if needed not in seen:
            # Order settles cycles too: in a cycle some topic needs a later one, or itself.
            raise SeriesError(
                f"{key}: depends_on: '{needed}' does not stand before it (a cycle, or the wrong "
                "order): move it up or remove the dependency"
            )


def _read_patches(project: Project, topic: Topic) -> tuple[Patch, ...]:
    folder = project.patches / topic.name
    patches = []
    for name in topic.patches:
        try:
            patches.append(Patch(name, (folder / name).read_bytes()))
        except OSError:
            raise SeriesError(
                f"{project.show(project.series_file)}: topic '{topic.name}': patches: no file "
                f"{project.show(folder / name)}: restore it with git, or take it off the list"
            ) from None
    return tuple(patches)


def _check_no_stray_files(project: Project, content: SeriesFile) -> None:
    listed = {
        project.patches / topic.name / name for topic in content.topic for name in topic.patches
    }
    for file in sorted(project.patches.rglob("*.patch")):
        hidden = file.relative_to(project.patches).parts[0].startswith(".")
        if file not in listed and not hidden:
            raise SeriesError(
                f"{project.show(project.series_file)}: no topic lists {project.show(file)}: add "
                "it to its topic's patches, or delete it"
            )


def rewritten_series(project: Project, topics: tuple[Topic, ...], pin: Pin) -> bytes:
    """series.toml with these patch lists, dependencies and pin, its comments and order kept.

    A topic that is not among `topics` goes.
    """
    document: Any = tomlkit.parse(project.series_file.read_text(encoding="utf-8"))
    for key, value in pin.model_dump().items():
        if document["pin"][key] != value:
            document["pin"][key] = value
    wanted = {topic.name: topic for topic in topics}
    tables = document.get("topic", [])
    for index in reversed(range(len(tables))):
        topic = wanted.get(tables[index]["name"])
        if topic is None:
            del tables[index]
            continue
        for key, names in (("patches", topic.patches), ("depends_on", topic.depends_on)):
            if tuple(tables[index].get(key, ())) != names:
                array = tomlkit.array()
                array.extend(names)
                tables[index][key] = array.multiline(len(names) > 1)
    if not tables:
        document.pop("topic", None)
    return tomlkit.dumps(document).encode()
