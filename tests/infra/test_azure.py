"""infra/vm-manage.sh with the real az against a Resource Manager of one's own, and a real machine.

The machine is set up by the real cloud-init from what az sent, and is reached by the real ssh.
"""

import base64
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import Caller, Cloud
from resource_manager import SUBSCRIPTION
from sandbox import ROOT
from virtual_machine import VirtualMachine

from bench.results import load_rows

pytestmark = pytest.mark.infra

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/metaflow-perf"
CLOUD_CONFIG = ROOT / "infra" / "cloud-init.yaml"
# The shortest part, and more time than the three minutes of --quick: they may be used up before
# the first round where other work goes on. It ends when its rounds are done.
BENCH = ("bench", "--quick", "--workload", "pack", "--minutes", "20")
# What this Debian has. On Ubuntu 24.04 it is what the cloud-config asks for.
OTHER_PYTHON = {"python=3.12": "python=3.13"}


def make_group(cloud: Cloud, **tags: str) -> None:
    cloud.azure.put(GROUP, {"location": "westeurope", "tags": tags})


def make_vm(cloud: Cloud, *, running: bool) -> None:
    make_group(cloud, **{"metaflow-perf": "vm-manage"})
    path = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/metaflow-perf"
    profile = {"networkProfile": {"networkInterfaces": []}}
    cloud.azure.put(path, {"location": "westeurope", "properties": profile})
    cloud.azure.switch(path.lower(), running)


def test_who_is_not_logged_in_is_told_so(stranger: Caller) -> None:
    assert stranger.refused("status") == "not logged in to Azure: run az login"
    assert stranger.refused("create") == "not logged in to Azure: run az login"


def test_a_group_of_others_is_never_touched(caller: Caller, cloud: Cloud) -> None:
    make_group(cloud, owner="someone")
    before = dict(cloud.azure.resources)
    for command in (["create"], ["stop"], ["destroy", "--yes"]):
        assert "the name is taken" in caller.refused(*command)
    assert cloud.azure.resources == before


@pytest.mark.parametrize(
    ("request_", "code", "message", "said"),
    [
        ("deployments", "QuotaExceeded", "exceeding approved Cores quota", "the quota of Standard"),
        ("PUT .*groups/", "AuthorizationFailed", "has no authorization", "role Contributor"),
        ("deployments", "Surprise", "never seen", "az vm create failed: "),
    ],
)
def test_what_azure_refuses_is_one_line(
    caller: Caller, cloud: Cloud, request_: str, code: str, message: str, said: str
) -> None:
    cloud.azure.refused[request_] = (code, message)
    assert said in caller.refused("create")
    assert True not in cloud.switched


def test_az_checks_what_the_script_hands_it(caller: Caller, cloud: Cloud) -> None:
    """The script's own call, with another user: az refuses it before Azure is asked."""
    make_group(cloud, **{"metaflow-perf": "vm-manage"})
    planned = caller.does("create", "--dry-run").out.splitlines()
    (call,) = [line for line in planned if line.startswith("az vm create ")]
    command = shlex.split(call.replace("--admin-username bench", "--admin-username root"))
    done = subprocess.run(command, cwd=caller.checkout, env=caller.env, capture_output=True)
    assert done.returncode != 0
    assert b"This user name 'root' meets the general requirements, but is" in done.stderr
    assert not cloud.azure.templates


def test_what_is_not_there_or_not_running_is_said(caller: Caller, cloud: Cloud) -> None:
    assert "make it with" in caller.refused("ssh", "true")
    assert "there is no" in caller.does("status").err
    assert "nothing to destroy" in caller.does("destroy").err
    make_vm(cloud, running=False)
    assert "does not run (VM deallocated): start it" in caller.refused("bench", "--quick")
    assert "say --yes" in caller.refused("destroy")
    assert cloud.azure.of_type("Microsoft.Compute/virtualMachines")


def test_no_connection_is_one_line(caller: Caller) -> None:
    for command in (["bench", "--quick"], ["fetch"]):
        assert "no connection to" in caller.refused(*command, "--host", "someone@127.0.0.1")


def test_a_current_cloud_init_takes_the_cloud_config(image: Path) -> None:
    def schema(text: str) -> "subprocess.CompletedProcess[str]":
        (image / "tmp" / "config").write_text(text)
        return VirtualMachine(image, 0).run("cloud-init", "schema", "--config-file", "/tmp/config")

    config = CLOUD_CONFIG.read_text()
    accepted = schema(config)
    assert accepted.returncode == 0, accepted
    assert "Valid schema" in accepted.stdout
    assert schema(config + "\npakages: [git]\n").returncode != 0


def test_a_machine_that_is_not_set_up_says_why(caller: Caller, machine: VirtualMachine) -> None:
    said = caller.refused("create")
    assert machine.run("cat", "/var/lib/metaflow-perf/provisioned").stdout.strip() in said
    assert "was not set up: failed: Python 3.13" in said and "instead of 3.12" in said


def test_from_nothing_to_results_and_back(
    caller: Caller, cloud: Cloud, machine: VirtualMachine
) -> None:
    machine.changes = OTHER_PYTHON
    azure = cloud.azure
    assert "ready" in caller.does("create").err, machine.log.read_text()
    check_template(cloud, caller)
    check_rule(cloud, "192.0.2.7")

    caller.does("create", "--from", "198.51.100.0/24")
    assert len(azure.templates) == 1, "made once"
    check_rule(cloud, "198.51.100.0/24")
    state = caller.does("status").out
    for word in ("VM running", "127.0.0.1", "Standard_D2s_v5", "westeurope"):
        assert word in state
    check_machine(machine)
    assert caller.does("ssh", "id", "--user", "--name").out == "bench\n"

    caller.loses_connection(*BENCH, after="preparing tree")
    followed = caller.does(*BENCH)
    assert "runs there already: following it" in followed.err and "round 1 of" in followed.out

    results = caller.checkout / "data" / "results.tsv"
    before = load_rows(results)
    caller.does("fetch")
    rows = load_rows(results)
    new = rows[len(before) :]
    assert rows[: len(before)] == before
    assert {"stock", "patched"} <= {row.arm for row in new if row.metric == "time"}
    assert {row.python[:4] for row in new} == {"3.13"}
    assert all(row.system.endswith(", Standard_D2s_v5 in westeurope") for row in new)
    assert {row.machine for row in new}.isdisjoint(row.machine for row in before)
    assert "0 rows added" in caller.does("fetch").out
    assert "0 rows added" in caller.does("fetch", "--host", "bench@127.0.0.1").out
    assert load_rows(results) == rows

    caller.does("stop")
    assert "does not run" in caller.refused("ssh", "true")
    caller.does("start")
    assert "Python 3.13" in caller.does("ssh", "python3", "--version").out
    assert "1.25 EUR" in caller.does("cost").out
    caller.does("destroy", "--yes")
    assert azure.resources == {}
    assert cloud.switched == [True, False, True, False]
    assert not list((caller.checkout / "build" / "infra").iterdir())
    assert "nothing to destroy" in caller.does("destroy", "--yes").err


def check_template(cloud: Cloud, caller: Caller) -> None:
    """What az sent: all that decides what machine it is."""
    (vm,) = cloud.azure.of_type("Microsoft.Compute/virtualMachines")
    assert vm["location"] == "westeurope"
    assert vm["properties"]["hardwareProfile"] == {"vmSize": "Standard_D2s_v5"}
    assert vm["properties"]["storageProfile"]["imageReference"] == {
        "publisher": "Canonical",
        "offer": "ubuntu-24_04-lts",
        "sku": "server",
        "version": "latest",
    }
    profile = vm["properties"]["osProfile"]
    assert base64.b64decode(profile["customData"]) == CLOUD_CONFIG.read_bytes()
    assert "adminPassword" not in profile
    linux = profile["linuxConfiguration"]
    assert linux["disablePasswordAuthentication"] is True
    (key,) = linux["ssh"]["publicKeys"]
    assert key["keyData"].strip() == caller.key.with_suffix(".pub").read_text().strip()
    (shutdown,) = cloud.azure.of_type("Microsoft.DevTestLab/schedules")
    assert shutdown["properties"]["dailyRecurrence"] == {"time": "2200"}
    assert shutdown["properties"]["status"] == "Enabled"
    assert shutdown["properties"]["targetResourceId"].lower() == vm["id"].lower()
    # One group holds everything.
    assert all(one.startswith(GROUP.lower()) for one in cloud.azure.resources)


def check_rule(cloud: Cloud, admitted: str) -> None:
    """One network group, with one rule, and the machine's interface is behind it."""
    (group,) = cloud.azure.of_type("Microsoft.Network/networkSecurityGroups")
    rules = cloud.azure.of_type("Microsoft.Network/networkSecurityGroups/securityRules")
    assert [rule["properties"]["sourceAddressPrefix"] for rule in rules] == [admitted]
    assert "securityRules" not in group["properties"]
    (interface,) = cloud.azure.of_type("Microsoft.Network/networkInterfaces")
    behind = interface["properties"]["networkSecurityGroup"]["id"]
    assert behind.lower() == group["id"].lower()


def check_machine(machine: VirtualMachine) -> None:
    """What the cloud-config made of a bare image."""
    assert machine.run("cat", "/var/lib/metaflow-perf/provisioned").stdout == "ready\n"
    masked = machine.run("systemctl", "list-unit-files", "--state=masked", "--no-legend").stdout
    assert "apt-daily.timer" in masked and "apt-daily-upgrade.timer" in masked
    value = machine.run("apt-config", "dump", "APT::Periodic::Enable").stdout
    assert value == 'APT::Periodic::Enable "0";\n'
    for tool in ("git", "make", "python3"):
        assert machine.run("which", tool).returncode == 0
