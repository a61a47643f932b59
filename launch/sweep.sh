#!/usr/bin/env bash
# Trains all combinations of a config file's get_sweep() on this machine, each in a process and a
# folder of its own.
#
#   bash launch/sweep.sh --config=configs/sweep.py [--jobs=2] [--only=0,3] [--dry_run]
#       [flags of diffpattern.main]
#
# So many jobs run at a time (one, unless told), all on the same devices. The folders are
# runs/<config>-<number>; --workdirs='runs/mine-*' names others. Runs that are complete are skipped,
# those that were begun go on. One that fails does not stop the rest; the exit code is 1 then.
# --only takes the combinations of these numbers, --dry_run prints the commands.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

jobs=1
only=""
flags=()
for flag in "$@"; do
    case "$flag" in
        --jobs=*) jobs="${flag#*=}" ;;
        --only=*) only="${flag#*=}" ;;
        --dry_run) dry_run=true ;;
        --mode | --mode=*) refuse "$flag is not for a sweep, which trains." ;;
        *) flags+=("$flag") ;;
    esac
done
require_count jobs "$jobs"
[[ ${#flags[@]} -gt 0 ]] || refuse "--config is missing; it takes a file such as configs/sweep.py."

find_pending "$only" "${flags[@]}"
[[ ${#pending[@]} -gt 0 ]] || exit 0
if $dry_run; then
    for number in "${pending[@]}"; do
        run "$python" -m diffpattern.main "${flags[@]}" --sweep="$number"
    done
    exit
fi

# Interrupting this script interrupts the runs too, since xargs and they are in its group.
failed="$(mktemp)"
trap 'rm -f "$failed"' EXIT
export failed
# shellcheck disable=SC2016
printf '%s\n' "${pending[@]}" | xargs -n 1 -P "$jobs" bash -o pipefail -c '
    number="${@: -1}"
    "${@:1:$#-1}" --sweep="$number" 2>&1 | while IFS= read -r line; do
        printf "[%s] %s\n" "$number" "$line"
    done || echo "$number" >> "$failed"
' train "$python" -m diffpattern.main "${flags[@]}"

if [[ -s "$failed" ]]; then
    numbers="$(sort -n "$failed" | tr '\n' ' ')"
    echo "Failed: ${numbers}of ${#pending[@]}; the same command goes on." >&2
    exit 1
fi
