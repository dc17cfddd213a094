"""The arms: what is compared. A source tree, what is installed, what is switched on."""

from dataclasses import dataclass, field

# What every arm needs: Metaflow's own requirements, and numpy for the payloads.
REQUIREMENTS = ("requests", "boto3", "numpy")


@dataclass(frozen=True)
class Arm:
    """One thing being measured."""

    name: str
    patched: bool
    # The topic without which the arm makes no sense.
    topic: str | None = None
    installed: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)


STOCK = Arm("stock", patched=False)
ARMS = (
    STOCK,
    Arm("patched", patched=True),
    Arm(
        "patched+lz4",
        patched=True,
        topic="cas-lz4",
        installed=("lz4",),
        settings={"METAFLOW_CAS_CODEC": "lz4"},
    ),
)
