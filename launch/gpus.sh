#!/usr/bin/env bash
# Trains one run on this machine with a process for each GPU, where launch/local.sh has one for all.
#
#   bash launch/gpus.sh [--processes=N] [--dry_run] [flags of diffpattern.main]
#
# --processes shares the GPUs out among so many processes, or the cores of a machine without any.
# --workdir is needed, for a run that was told to stop, of which its exit code tells, is started
# again and goes on there; up to 10 times also one that stalled, or lost a process. SIGTERM is handed on to the processes; once they have saved, the exit
# code is 75, so that who sent it can start this command again.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

gpus=0
command -v nvidia-smi > /dev/null && gpus="$(nvidia-smi --list-gpus | wc -l)"
processes="$gpus"
workdir=""
flags=()
for flag in "$@"; do
    case "$flag" in
        --processes=*) processes="${flag#*=}" ;;
        --dry_run) dry_run=true ;;
        --coordinator=* | --process=*) refuse "$flag is chosen here; leave it out." ;;
        --workdir=*) workdir="${flag#*=}" && flags+=("$flag") ;;
        *) flags+=("$flag") ;;
    esac
done
[[ "$processes" != 0 ]] || refuse "there is no GPU here; --processes=2 takes so many processes."
require_count processes "$processes"
((gpus % processes == 0)) || refuse "--processes is $processes, which does not divide $gpus GPUs."
[[ -n "$workdir" ]] || refuse "--workdir is missing; a run that is started again goes on there."

make_environment || exit

# start NUMBER: starts, or prints, the process of that number.
start() {
    local command=("$python" -m diffpattern.main "${flags[@]}") each=$((gpus / processes))
    if ((processes > 1)); then
        command+=("--coordinator=localhost:$port" "--processes=$processes" "--process=$1")
    fi
    # Which of the GPUs that it sees JAX takes.
    if ((gpus > 0)); then
        command=(env "JAX_LOCAL_DEVICE_IDS=$(seq -s , $(($1 * each)) $((($1 + 1) * each - 1)))"
            "${command[@]}")
    fi
    if $dry_run; then run "${command[@]}"; else "${command[@]}" & fi
}

# The numbers of the processes by their ids.
declare -A running=()
stopped=false
# An interrupt reaches this script alone, for what runs behind a script does not listen to it.
trap 'stopped=true; ((${#running[@]} == 0)) || kill -TERM "${!running[@]}"' TERM INT

# Trains until all processes have ended; `code` is 0, or what the first that failed ended with.
train() {
    local number ended status killer=""
    for ((number = 0; number < processes; number++)); do
        start "$number"
        running[$!]=$number
    done
    code=0
    while ((${#running[@]})); do
        wait -n -p ended "${!running[@]}"
        status=$?
        # Being told to stop ends the waiting, but none of the processes.
        [[ -n "${ended:-}" ]] || continue
        unset "running[$ended]"
        ((status != unheard)) || status=$requeue
        if ((status != 0 && (code == 0 || code == requeue))); then
            code=$status
            # Without one the others cannot go on. They may find that out, and say why.
            if ((code != requeue)) && ((${#running[@]})); then
                (sleep 10 && kill -KILL "${!running[@]}") 2> /dev/null &
                killer=$!
            fi
        fi
    done
    [[ -z "$killer" ]] || kill "$killer" 2> /dev/null
}

while true; do
    # The first process waits for the others at a port that is free now.
    port="$("${PYTHON:-python3}" -c "
import socket
with socket.socket() as one:
    one.bind(('', 0))
    print(one.getsockname()[1])")" || exit
    if $dry_run; then
        for ((number = 0; number < processes; number++)); do start "$number"; done
        exit
    fi
    train
    if $stopped || ! again "$code"; then exit "$code"; fi
    echo "launch/gpus.sh: started again." >&2
done
