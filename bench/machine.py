"""The machine: its fingerprint, and what about it would spoil a measurement now."""

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.results import SHA

# Shares of all processor time, over the moment of the check.
MOST_STEAL = 0.01
MOST_BUSY = 0.10
# Runnable processes for each core, over the last minute.
MOST_LOAD = 0.5
GOVERNORS = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
# What tells processors apart there: x86, then ARM, which gives no name.
NUMBERS = (
    *("cpu family", "model", "stepping"),
    *("CPU implementer", "CPU part", "CPU variant", "CPU revision"),
)
# What processors call their instructions for SHA-1: x86, then ARM.
SHA_FLAGS = {"sha_ni", "sha1"}
# What cloud-init found out at boot, readable by all: on Azure the instance metadata service's
# answer is in it, under ds.meta_data.imds.
INSTANCE = Path("/run/cloud-init/instance-data.json")


@dataclass(frozen=True)
class Machine:
    """What decides how fast code runs, as far as a machine tells."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    # Of a virtual machine of Azure, such as Standard_D2s_v5. One size runs on several processors.
    size: str | None = None

    @property
    def fingerprint(self) -> str:
        """12 hex digits; rows of different ones are never compared.

        Without the kernel's version: it changes with every update. Without the region: the same
        machines stand in several.
        """
        parts = [self.processor, str(self.cores), str(round(self.memory_gb)), platform.machine()]
        parts += [self.size] if self.size else []
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def this_machine() -> Machine:
    size, region = _instance()
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        system=f"{_system()}, {size} in {region}" if size else _system(),
        size=size,
    )


def _instance() -> tuple[str | None, str | None]:
    """Size and region of a virtual machine of Azure."""
    try:
        compute = json.loads(INSTANCE.read_bytes())["ds"]["meta_data"]["imds"]["compute"]
        return compute["vmSize"], compute["location"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None  # no such machine


def _processor() -> str:
    """Name and numbers: hypervisors call processors of several generations "AMD EPYC"."""
    info = dict[str, str]()
    if CPUINFO.exists():
        for line in CPUINFO.read_text().splitlines():
            field, _, value = line.partition(":")
            info.setdefault(field.strip(), " ".join(value.split()))
    name = info.get("model name") or platform.processor() or platform.machine()
    return ", ".join([name, *(f"{field} {info[field]}" for field in NUMBERS if field in info)])


def _system() -> str:
    parts = [f"{platform.system()} {platform.release()}"]
    with contextlib.suppress(OSError):
        parts.append(platform.freedesktop_os_release()["PRETTY_NAME"])
    if CPUINFO.exists():
        flags = re.findall(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
        has = any(SHA_FLAGS & set(line.split()) for line in flags)
        parts.append(f"{'with' if has else 'without'} {SHA}")
    return ", ".join(parts)


def complaints(seconds: float = 1.0) -> Iterator[str]:
    """What would spoil a measurement that began now, each with what to do about it.

    Watches the processors for so many seconds.
    """
    cores = this_machine().cores
    load = os.getloadavg()[0]
    if load > MOST_LOAD * cores:
        yield f"load of {load:.1f} on {cores} cores in the last minute: stop what else runs"
    before = Ticks.now()
    time.sleep(seconds)
    steal, busy = Ticks.now().shares_since(before)
    if busy > MOST_BUSY:
        yield f"processors are {busy:.0%} busy with something else: stop it"
    if steal > MOST_STEAL:
        yield f"steal time of {steal:.1%}: the hypervisor runs others, choose another hour or host"
    governors = {
        file.read_text().strip() for file in GOVERNORS.glob("cpu*/cpufreq/scaling_governor")
    }
    for governor in sorted(governors - {"performance"}):
        yield f"frequency governor {governor}: run `cpupower frequency-set -g performance`"


@dataclass(frozen=True)
class Ticks:
    """Seconds of all processors since the machine started."""

    stolen: float
    idle: float
    total: float

    @classmethod
    def now(cls) -> "Ticks":
        times = psutil.cpu_times()
        stolen, waiting = getattr(times, "steal", 0.0), getattr(times, "iowait", 0.0)
        return cls(stolen, times.idle + waiting, sum(times))

    def shares_since(self, before: "Ticks") -> tuple[float, float]:
        """Stolen and busy shares of the time between two readings."""
        total = self.total - before.total
        if total <= 0:
            return 0.0, 0.0
        stolen, idle = self.stolen - before.stolen, self.idle - before.idle
        return stolen / total, (total - idle - stolen) / total
