#!/usr/bin/env bash
# Trains one run on a TPU slice of Google Cloud: asks for the slice as a queued resource, waits for
# it, puts this checkout's last commit onto all of its hosts, and trains there.
#
#   bash launch/tpu.sh --name=NAME --zone=ZONE --type=v5litepod-16 --runtime=v2-alpha-tpuv5-lite
#       --nfs=HOST:/SHARE --config=configs/pde.py --workdir=runs/RUN [--project=NAME] [--spot]
#       [--delete] [--dry_run] [flags of diffpattern.main]
#
# The share, one of Filestore for instance, is mounted on every host as the checkout's folder runs,
# so --workdir lies below that. A slice that is there is used again. A run that was told to stop, or
# whose slice was taken away, is started again, on a new slice if need be; up to 10 times also one
# that stalled, lost a process, or to which the connection was lost. --delete gives the slice back in
# the end, unless the run may still go on there.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name="" zone="" type="" runtime="" nfs="" workdir=""
spot=()
place=()
delete=false
flags=()
for flag in "$@"; do
    value="${flag#*=}"
    case "$flag" in
        --name=*) name="$value" ;;
        --zone=*) zone="$value" ;;
        --type=*) type="$value" ;;
        --runtime=*) runtime="$value" ;;
        --nfs=*) nfs="$value" ;;
        --project=*) place+=("--project=$value") ;;
        --spot) spot=(--spot) ;;
        --delete) delete=true ;;
        --dry_run) dry_run=true ;;
        --workdir=*) workdir="$value" && flags+=("$flag") ;;
        *) flags+=("$flag") ;;
    esac
done
for needed in name zone type runtime nfs workdir; do
    [[ -n "${!needed}" ]] || refuse "--$needed is missing; see the head of this file."
done
[[ "$nfs" == *:/* ]] || refuse "--nfs is '$nfs'; write it as HOST:/SHARE."
[[ "$workdir" == runs/?* ]] || refuse "--workdir is '$workdir'; it must lie in runs/, as runs/mine."
$dry_run || command -v gcloud > /dev/null || refuse "there is no gcloud here; --dry_run needs none."
place+=("--zone=$zone")
tpus=(gcloud compute tpus)
# What ssh ends with that has lost its connection.
lost=255

state() {
    "${tpus[@]}" queued-resources describe "$name" "${place[@]}" --format="value(state.state)" \
        2> /dev/null
}

create() {
    run "${tpus[@]}" queued-resources create "$name" --node-id="$name" "${place[@]}" \
        --accelerator-type="$type" --runtime-version="$runtime" ${spot[@]+"${spot[@]}"}
}

# Gives the slice back, with what was asked for.
give_back() {
    run "${tpus[@]}" queued-resources delete "$name" "${place[@]}" --force --quiet
}

# on_hosts COMMAND: runs it in a shell of every host.
on_hosts() {
    run "${tpus[@]}" tpu-vm ssh "$name" "${place[@]}" --worker=all --command="$1"
}

# Waits until the slice is there, asking for it where it has not been asked for or is lost.
await() {
    if $dry_run; then
        create
        return
    fi
    while true; do
        case "$(state)" in
            ACTIVE) return ;;
            "") create || exit ;;
            SUSPENDING | DELETING) ;;
            SUSPENDED | FAILED) give_back || exit ;;
        esac
        sleep 30
    done
}

# What each host needs: Python 3.11, which its system does not start with, the code and the share.
archive="$(mktemp -d)/diffpattern.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
prepare="set -e; mkdir -p diffpattern/runs; tar -xzf diffpattern.tar.gz -C diffpattern; \
sudo apt-get update -qq; sudo apt-get install -y -qq nfs-common python3.11-venv; \
mountpoint -q diffpattern/runs || sudo mount -t nfs $(printf %q "$nfs") diffpattern/runs"
train="cd diffpattern && EXTRAS=tpu PYTHON=python3.11 DIFFPATTERN_DATA=\$PWD/runs/.data \
bash launch/local.sh$(printf ' %q' "${flags[@]}")"
# A run to which the connection is lost may go on; told to stop, it saves itself. The brackets keep
# the pattern from matching the command that has it.
stop="pkill -TERM -f '[d]iffpattern.main'; \
while pgrep -f '[d]iffpattern.main' > /dev/null; do sleep 1; done"

run git -C "$checkout" archive --format=tar.gz --output="$archive" HEAD || exit
while true; do
    await
    run "${tpus[@]}" tpu-vm scp "$archive" "$name:diffpattern.tar.gz" "${place[@]}" --worker=all \
        && on_hosts "$prepare" && on_hosts "$train"
    code=$?
    $dry_run && break
    [[ $code == 0 || $code == 2 ]] && break
    if [[ $code != "$requeue" && $code != "$unheard" ]]; then
        # A slice that is taken away ends the command too, whatever its exit code; that is soon told.
        sleep 60
        if [[ "$(state)" == ACTIVE ]]; then
            again "$code" || break
            on_hosts "$stop" || true
        fi
    fi
    echo "launch/tpu.sh: started again." >&2
done
if $delete && [[ $code == "$lost" ]]; then
    echo "launch/tpu.sh: the connection is lost, and the run may go on; the slice is kept." >&2
elif $delete; then
    give_back
fi
exit "$code"
