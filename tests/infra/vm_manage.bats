# The command line of infra/vm-manage.sh, where nothing may be called: a dry run needs no az.

setup() {
    vm_manage="$BATS_TEST_DIRNAME/../../infra/vm-manage.sh"
    key="$BATS_TEST_TMPDIR/key.pub"
    echo "ssh-ed25519 AAAA someone" >"$key"
    # az, ssh and git would be seen: none of them is there.
    commands="$BATS_TEST_TMPDIR/commands"
    mkdir "$commands"
    for tool in az ssh git curl make; do
        printf '#!/bin/sh\necho "$0 was called" >&2\nexit 99\n' >"$commands/$tool"
        chmod +x "$commands/$tool"
    done
}

dry() {
    run env PATH="$commands:$PATH" "$vm_manage" "$1" --dry-run --key "$key" --from 192.0.2.7 "${@:2}"
}

# The command ends with a code, and one line that holds all of these words.
refused() {
    local code=$1 word
    shift
    [ "$status" = "$code" ] || { echo "$status: $output"; return 1; }
    [ "${#lines[@]}" = 1 ] || { echo "$output"; return 1; }
    for word in "vm-manage: " "$@"; do
        [[ $output == *"$word"* ]] || { echo "$output"; return 1; }
    done
}

said() {
    local word
    [ "$status" = 0 ] || { echo "$status: $output"; return 1; }
    for word in "$@"; do
        [[ $output == *"$word"* ]] || { echo "no $word in: $output"; return 1; }
    done
}

@test "help names every command" {
    run "$vm_manage" --help
    said create status start stop ssh bench fetch cost destroy --host --dry-run
}

@test "no command is wrong usage" {
    run "$vm_manage"
    [ "$status" = 2 ]
    [[ ${lines[0]} == usage:* ]]
}

@test "create prints its calls in order: the rule comes before the machine" {
    dry create
    said "az group create --name metaflow-perf --location westeurope --tags metaflow-perf=vm-manage" \
        "--source-address-prefixes 192.0.2.7" "--size Standard_D2s_v5" \
        "--image Canonical:ubuntu-24_04-lts:server:latest" "--authentication-type ssh" \
        "--custom-data" "az vm auto-shutdown" "--time 2200"
    local rule machine
    rule=$(grep -n "nsg rule create" <<<"$output" | cut -d: -f1)
    machine=$(grep -n "vm create" <<<"$output" | cut -d: -f1)
    [ "$rule" -lt "$machine" ]
}

@test "options decide size, region, image and name" {
    dry create --name two --size Standard_E4s_v5 --region swedencentral --image a:b:c:1.2 --shutdown 0730
    said "group create --name two --location swedencentral" "--size Standard_E4s_v5" \
        "--image a:b:c:1.2" "--time 0730"
    [[ $output != *Standard_D2s* ]]
}

@test "every other command prints its calls" {
    dry status && said "az vm list"
    dry start && said "az vm start"
    dry stop && said "az vm deallocate"
    dry cost && said "az rest --method post" "CostManagement"
    dry destroy && said "az group delete --name metaflow-perf --yes"
    dry ssh id --name && said "bench@ADDRESS id --name"
    dry bench --quick && said "git push --force bench@ADDRESS:metaflow-perf" "--quick"
    dry fetch && said "cat metaflow-perf/build/remote/results.tsv"
}

@test "another machine needs no Azure" {
    dry bench --host someone@elsewhere --quick --payload "model weights"
    said "someone@elsewhere" "--quick"
    [[ $output != *"az "* ]]
    # Quoted for make's shell, for the one that ssh runs, and for print.
    said 'metaflow-perf \\\ --quick\\\ --payload\\\ model\\\\\\\ weights'
    dry bench --host someone@elsewhere
    said "metaflow-perf \\'\\'"
    dry fetch --host someone@elsewhere
    [[ $output != *"az "* ]]
}

@test "bad names are refused in one line" {
    local bad
    for bad in X two_words -x x- 1x a "a b" 'a;b' "$(printf 'a%.0s' {1..64})"; do
        dry status --name "$bad"
        refused 2 '--name "' "a-z"
    done
    dry create --region "West Europe" && refused 2 --region westeurope
    dry create --size D2s_v5 && refused 2 --size Standard_D2s_v5
    dry create --image Ubuntu2404 && refused 2 --image PUBLISHER
    dry create --shutdown 2460 && refused 2 --shutdown 2200
    dry bench --host -oProxyCommand=x && refused 2 --host USER@MACHINE
    run "$vm_manage" create --from everyone
    refused 2 --from IPv4
}

@test "a burstable size is refused" {
    dry create --size Standard_B2s
    refused 2 burstable
}

@test "wrong usage is one line" {
    dry nonsense && refused 2 "no command nonsense"
    dry status all && refused 2 "does not take all"
    dry bench --results=x.tsv && refused 2 "--results"
    run "$vm_manage" create --name
    refused 2 "needs a value"
}

@test "a key that is not there, or is not public, is named" {
    run "$vm_manage" create --dry-run --key "$BATS_TEST_TMPDIR/none.pub"
    refused 1 "none.pub" "ssh-keygen"
    echo "-----BEGIN OPENSSH PRIVATE KEY-----" >"$key"
    dry create && refused 1 "key.pub is no public key"
}

# az ends with an error: one line, and what to do.
az_says() {
    printf '#!/bin/sh\necho "A notice. %s" >&2\nexit 1\n' "ERROR: $1" >"$commands/az"
    run env PATH="$commands:$PATH" "$vm_manage" create --key "$key" --from 192.0.2.7
    shift
    refused 1 "$@"
}

@test "what az says becomes a remedy" {
    az_says "Please run 'az login' to setup account." "run az login"
    az_says "AADSTS700082: The refresh token has expired" "run az login"
    az_says "(QuotaExceeded) exceeding approved standardDSv5Family Cores quota" "quota of Standard_D2s_v5"
    az_says "(SkuNotAvailable) The requested size is not available" "westeurope has no Standard_D2s_v5"
    az_says "(LocationNotAvailableForResourceGroup) The provided location" "no region westeurope"
    az_says "(InvalidResourceGroupLocation) Invalid resource group location" "in another region"
    az_says "(PlatformImageNotFound) The platform image" "no image Canonical:"
    az_says "(AuthorizationFailed) The client has no authorization" "role Contributor"
    az_says "(ResourceGroupBeingDeleted) The resource group" "still being deleted"
    az_says "(Surprise) never seen" "az group exists failed: (Surprise) never seen" --dry-run
}

@test "without az the remedy is said" {
    rm "$commands/az"
    run env PATH="$commands:/usr/bin:/bin" "$vm_manage" status
    if command -v /usr/bin/az >/dev/null; then skip "az is in /usr/bin"; fi
    refused 1 "az is not installed" "azure-cli"
}
