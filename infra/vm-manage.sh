#!/usr/bin/env bash
# The machine that official numbers come from: an Azure VM, or any other Linux machine over SSH.
# Nothing is remembered here: what there is, is asked of Azure every time.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: infra/vm-manage.sh COMMAND [options]

  create     make the VM and wait until it is ready; again: admit your new address, start it
  status     what there is, and whether it runs
  start      start a stopped VM
  stop       stop it, and what it costs by the hour
  ssh        open a shell on it, or run a command: ssh uptime
  bench      send the current commit, run make bench there and follow it: bench --quick
             if the connection drops it goes on; bench again follows it
  fetch      bring the results back, into data/results.tsv
  cost       what it has cost this month
  destroy    delete the resource group, which holds everything

bench, fetch and ssh work on any Linux machine that has git, make and python3:
  --host USER@MACHINE   what ssh calls it

  --name NAME           of the resource group and the VM   (metaflow-perf)
  --size SIZE                                              (Standard_D2s_v5)
  --region REGION                                          (westeurope)
  --image IMAGE         PUBLISHER:OFFER:SKU:VERSION        (Canonical:ubuntu-24_04-lts:server:latest)
  --key FILE            public key to log in with          (~/.ssh/id_ed25519.pub)
  --from ADDRESS        who may log in: an address or net  (the one you are seen with)
  --shutdown HHMM       stop every day at this time, UTC   (2200)
  --dry-run             print the calls, make none
  --yes                 destroy without being asked
EOF
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly me=infra/vm-manage.sh
# The tag of our resource groups.
readonly tag=metaflow-perf owner=vm-manage
# On the machine: the user, the checkout under its home, and what cloud-init.yaml writes at its end.
readonly user=bench checkout=metaflow-perf provisioned=/var/lib/metaflow-perf/provisioned
readonly wait_seconds=900

name=metaflow-perf
size=Standard_D2s_v5
region=westeurope
image=Canonical:ubuntu-24_04-lts:server:latest
key=~/.ssh/id_ed25519.pub
from=
shutdown=2200
host=
dry_run=no
yes=no
arguments=()
ssh_options=(-o ConnectTimeout=10 -o ServerAliveInterval=15)

note() { [ "$dry_run" = yes ] || printf '%s\n' "$1" >&2; }

die() {
    printf 'vm-manage: %s\n' "$1" >&2
    exit "${2:-1}"
}

# --- the command line

check() { # check WHAT VALUE PATTERN REMEDY
    [[ $2 =~ ^($3)$ ]] || die "$1 \"$2\": $4" 2
}

parse() {
    [ $# -gt 0 ] || { usage >&2; exit 2; }
    command=$1
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --name | --size | --region | --image | --key | --from | --shutdown | --host)
                [ $# -gt 1 ] || die "$1 needs a value: see $me --help" 2
                printf -v "${1#--}" %s "$2"
                shift
                ;;
            --dry-run) dry_run=yes ;;
            --yes) yes=yes ;;
            -h | --help) command=help ;;
            *)
                if [ "$command" = ssh ]; then # the rest is the remote command's own
                    arguments=("$@")
                    break
                fi
                arguments+=("$1")
                ;;
        esac
        shift
    done
    case $command in
        help | -h | --help | bench | ssh) ;;
        *) [ ${#arguments[@]} = 0 ] || die "$command does not take ${arguments[0]}: see $me --help" 2 ;;
    esac
    local word='[A-Za-z0-9._-]+'
    check --name "$name" '[a-z][a-z0-9-]{0,61}[a-z0-9]' \
        "2 to 63 of a-z, 0-9 and -, a letter first, no - at the end"
    check --size "$size" 'Standard_[A-Za-z0-9_-]+' "a size of Azure, such as Standard_D2s_v5"
    [[ $size != Standard_B* ]] ||
        die "--size \"$size\": a burstable size is as fast as what ran before lets it be: choose a D" 2
    check --region "$region" '[a-z0-9]+' "a region of Azure in one word, such as westeurope"
    check --image "$image" "$word:$word:$word:$word" "PUBLISHER:OFFER:SKU:VERSION"
    check --from "$from" '|([0-9]{1,3}\.){3}[0-9]{1,3}(/[0-9]{1,2})?' "an IPv4 address, or a net as in 192.0.2.0/24"
    check --shutdown "$shutdown" '([01][0-9]|2[0-3])[0-5][0-9]' "a time in UTC, such as 2200"
    check --host "$host" "|[A-Za-z0-9_][A-Za-z0-9._@-]*" "USER@MACHINE, as ssh takes it"
}

# --- Azure

# Runs az. A dry run prints the call, and goes on with the answer $assumed.
azure() {
    if [ "$dry_run" = yes ]; then
        show az "$@"
        printf '%s' "${assumed-}"
        return
    fi
    command -v az >/dev/null || die "az is not installed: run uv tool install azure-cli"
    az "$@" --only-show-errors 2>"$errors" || explain "$1 $2"
}

show() {
    {
        printf '%s' "$1"
        shift
        printf ' %q' "$@"
        printf '\n'
    } >&3
}

# One line for what az said, with the remedy.
explain() {
    local said
    said=$(tr '\n' ' ' <"$errors")
    said=${said#*ERROR: }
    case $said in
        *"az login"* | *AADSTS*) die "not logged in to Azure: run az login" ;;
        *[Qq]uota*) die "the quota of $size in $region is used up: choose another --size or --region, or ask for more in the portal" ;;
        *SkuNotAvailable*) die "$region has no $size to give: choose another --region or --size" ;;
        *InvalidResourceGroupLocation*) die "$name is in another region: give its --region, or choose another --name" ;;
        *LocationNotAvailable* | *NoRegisteredProviderFound*) die "Azure has no region $region: az account list-locations lists them" ;;
        *ImageNotFound* | *ArtifactNotFound*) die "there is no image $image in $region: az vm image list --all --publisher Canonical lists them" ;;
        *AuthorizationFailed*) die "this account may not do that: ask for the role Contributor, or choose a subscription with az account set" ;;
        *BeingDeleted*) die "$name is still being deleted: run this again in a minute" ;;
    esac
    die "az $1 failed: ${said:0:300}: see the calls with --dry-run"
}

# Whether the resource group is there; ends if it is not ours.
group_exists() {
    local exists found
    exists=$(azure group exists --name "$name") || exit
    [ "$exists" = true ] || return 1
    found=$(assumed=$owner azure group show --name "$name" --query "tags.\"$tag\"" --output tsv) || exit
    [ "$found" = "$owner" ] ||
        die "the name is taken: resource group $name was not made by $me: choose another --name"
}

require_group() {
    assumed=true group_exists || die "there is no $name: make it with $me create"
}

# Sets $state, such as "VM running", empty where there is no VM; and $address.
look_up_vm() {
    local found
    found=$(azure vm list --resource-group "$name" --show-details \
        --query "[?name=='$name'].[powerState, publicIps]" --output tsv)
    state=${found%%$'\t'*}
    address=${found#*$'\t'}
}

require_vm() {
    require_group
    assumed=$'VM running\tADDRESS' look_up_vm
    [ -n "$state" ] || die "$name has no VM: make it with $me create"
}

create() {
    [ -r "$key" ] || die "no public key at $key: make one with ssh-keygen -t ed25519, or name yours with --key"
    # az sends whatever it is given: it must not be a private key.
    grep -qE '^ssh-(ed25519|rsa) AAAA' "$key" || die "$key is no public key of the kind ed25519 or rsa: name one with --key"
    if [ -z "$from" ]; then
        from=$(find_own_address)
        check --from "$from" '([0-9]{1,3}\.){3}[0-9]{1,3}' "your address cannot be found out: name it with --from"
    fi
    assumed=false group_exists || note "making $name: $size in $region"
    azure group create --name "$name" --location "$region" --tags "$tag=$owner" --output none
    # The rule first: no minute in which others may log in.
    azure network nsg create --resource-group "$name" --name "$name" --output none
    azure network nsg rule create --resource-group "$name" --nsg-name "$name" --name ssh \
        --priority 1000 --protocol Tcp --destination-port-ranges 22 \
        --source-address-prefixes "$from" --output none
    look_up_vm
    if [ -z "$state" ]; then
        rm -f "$(known_hosts)"
        azure vm create --resource-group "$name" --name "$name" --size "$size" --image "$image" \
            --admin-username "$user" --authentication-type ssh --ssh-key-values "$key" \
            --custom-data "$root/infra/cloud-init.yaml" --nsg "$name" --nsg-rule NONE \
            --public-ip-sku Standard --output none
    elif [ "$state" != "VM running" ]; then
        azure vm start --resource-group "$name" --name "$name" --output none
    fi
    azure vm auto-shutdown --resource-group "$name" --name "$name" --location "$region" \
        --time "$shutdown" --output none
    wait_until_ready
    note "ready: $me bench measures; $me destroy ends what it costs"
}

find_own_address() {
    if [ "$dry_run" = yes ]; then
        printf 192.0.2.1
    else
        curl --fail --silent --max-time 10 https://api.ipify.org || true
    fi
}

wait_until_ready() {
    local found='' code=0
    find_host
    [ "$dry_run" = no ] || return 0
    note "waiting for $name at $address to be ready"
    SECONDS=0
    while [ -z "$found" ]; do
        code=0
        found=$(remote cat "$provisioned" 2>/dev/null) || code=$?
        [ -z "$found" ] || break
        if [ "$SECONDS" -gt "$wait_seconds" ]; then
            [ "$code" != 255 ] || die "$address does not let you in over ssh: if your address is not $from, name it with --from and run create again"
            die "$name does not become ready: look at /var/log/cloud-init-output.log with $me ssh"
        fi
        sleep 5
    done
    [ "$found" = ready ] || die "$name was not set up: $found: run $me destroy, and create it again"
}

status() {
    if ! assumed=true group_exists; then
        note "there is no $name"
        return
    fi
    azure vm list --resource-group "$name" --show-details --output yaml --query \
        "[?name=='$name'].{state: powerState, address: publicIps, size: hardwareProfile.vmSize, region: location, image: storageProfile.imageReference.exactVersion}"
}

start() {
    require_vm
    azure vm start --resource-group "$name" --name "$name" --output none
    wait_until_ready
}

stop() {
    require_vm
    azure vm deallocate --resource-group "$name" --name "$name" --output none
    note "stopped: its disk and address still cost a little, until $me destroy"
}

cost() {
    local found
    require_group
    found=$(assumed=$'0\tEUR' azure rest --method post \
        --url "/subscriptions/{subscriptionId}/resourceGroups/$name/providers/Microsoft.CostManagement/query?api-version=2023-11-01" \
        --body '{"type": "ActualCost", "timeframe": "MonthToDate", "dataset": {"granularity": "None", "aggregation": {"total": {"name": "Cost", "function": "Sum"}}}}' \
        --query "properties.rows[0]" --output tsv)
    [ -n "$found" ] || found=0
    printf '%s this month, as far as Azure has counted: it is up to a day late\n' "$(tr '\n\t' '  ' <<<"$found" | sed 's/ *$//')"
}

destroy() {
    local answer=yes
    if ! assumed=true group_exists; then
        note "there is no $name: nothing to destroy"
        return
    fi
    if [ "$yes" = no ] && [ "$dry_run" = no ]; then
        [ -t 0 ] || die "destroy asks first: say --yes where nobody can answer"
        read -r -p "Delete resource group $name and all that is in it? [yes/no] " answer
    fi
    [ "$answer" = yes ] || die "not destroyed: answer yes, or say --yes"
    azure group delete --name "$name" --yes
    rm -f "$(known_hosts)"
    note "destroyed: nothing of $name is left"
}

# --- the machine, over SSH

known_hosts() { printf '%s' "$root/build/infra/known_hosts-$name"; }

# Sets $host, and how ssh reaches it.
find_host() {
    [ -z "$host" ] || return 0
    require_vm
    [ "$state" = "VM running" ] || die "$name does not run ($state): start it with $me start"
    host=$user@$address
    [ "$dry_run" = yes ] || mkdir -p "$root/build/infra"
    # Of its own: the next VM may get the address of this one, and has another host key.
    ssh_options+=(-o "UserKnownHostsFile=$(known_hosts)" -o StrictHostKeyChecking=accept-new)
    [ ! -e "${key%.pub}" ] || ssh_options+=(-i "${key%.pub}")
}

remote() {
    if [ "$dry_run" = yes ]; then
        show ssh "${ssh_options[@]}" "$host" "$@"
    else
        ssh "${ssh_options[@]}" -o BatchMode=yes "$host" "$@"
    fi
}

# Ends because of ssh's exit code: 255 is its own, others are the command's.
fail_remote() { # fail_remote CODE MESSAGE
    [ "$1" != 255 ] || die "no connection to $host: see what ssh says above; if your address changed, run $me create again"
    die "$2"
}

open_shell() {
    find_host
    if [ "$dry_run" = yes ]; then
        remote ${arguments[@]+"${arguments[@]}"}
    else
        exec ssh "${ssh_options[@]}" "$host" ${arguments[@]+"${arguments[@]}"}
    fi
}

bench() {
    local found
    [[ " ${arguments[*]-} " != *" --results"* ]] ||
        die "bench does not take --results: fetch brings the rows into data/results.tsv" 2
    find_host
    found=$(remote bash -s -- "$checkout" <<'EOF'
for tool in git make python3 flock setsid; do
    command -v "$tool" >/dev/null || { echo "$tool"; exit; }
done
set -e
mkdir -p "$1/build/remote"
cd "$1"
[ -d .git ] || git init --quiet
flock --nonblock build/remote/lock true || echo running
EOF
    ) || fail_remote $? "no checkout can be made on $host: its own words are above"
    case $found in
        running) note "a benchmark runs there already: following it" ;;
        '') start_bench ;;
        *) die "$host has no $found: install git, make, python3 and util-linux there" ;;
    esac
    follow_bench
}

start_bench() {
    local quoted wanted=
    git -C "$root" diff --quiet HEAD ||
        note "note: what is not committed is not measured"
    note "sending commit $(git -C "$root" rev-parse --short HEAD) to $host"
    quoted=$(printf ' %q' ssh "${ssh_options[@]}")
    if [ "$dry_run" = yes ]; then
        show git push --force "$host:$checkout" HEAD:refs/heads/measured
    else
        GIT_SSH_COMMAND=${quoted# } git -C "$root" push --quiet --force "$host:$checkout" \
            HEAD:refs/heads/measured || die "the commit cannot be sent to $host: see ssh $host"
    fi
    [ ${#arguments[@]} = 0 ] || wanted=$(printf ' %q' "${arguments[@]}")
    # Quoted once more for the shell that ssh runs there.
    remote bash -s -- "$checkout" "$(printf %q "$wanted")" <<'EOF' || fail_remote $? "no benchmark can be started on $host: its own words are above"
set -e
cd "$1"
git checkout --quiet --force --detach refs/heads/measured
cd build/remote
rm -f ended
# Of a session of its own, so that it does not end with the connection.
setsid flock lock bash -c 'make -C ../.. bench ARGS="--results build/remote/results.tsv$1"; echo $? >ended' \
    - "$2" >log 2>&1 </dev/null &
echo $! >pid
EOF
}

follow_bench() {
    local code=0
    remote bash -s -- "$checkout" <<'EOF' || code=$?
cd "$1/build/remote"
tail --pid="$(cat pid)" --lines=+1 --follow log
[ -s ended ] || exit 3
[ "$(cat ended)" = 0 ] || exit 4
EOF
    case $code in
        0) note "measured: $me fetch brings the results back" ;;
        3) die "the benchmark on $host was ended from outside: bench again goes on where it stopped" ;;
        4) die "the benchmark failed on $host: its last lines say why" ;;
        *) die "the connection to $host is lost, the benchmark goes on: bench again follows it" ;;
    esac
}

fetch() {
    find_host
    remote cat "$checkout/build/remote/results.tsv" >"$fetched" ||
        fail_remote $? "no results on $host: run $me bench first"
    if [ "$dry_run" = yes ]; then
        show make merge ARGS=FILE
        return
    fi
    make --no-print-directory -C "$root" merge ARGS="$fetched"
}

main() {
    parse "$@"
    exec 3>&1
    errors=$(mktemp)
    fetched=$(mktemp)
    trap 'rm -f "$errors" "$fetched"' EXIT
    case $command in
        help | -h | --help) usage ;;
        create | status | start | stop | bench | fetch | cost | destroy) "$command" ;;
        ssh) open_shell ;;
        *) die "there is no command $command: see $me --help" 2 ;;
    esac
}

main "$@"
