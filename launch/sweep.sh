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

checkout="$(cd "$(dirname "$0")/.." && pwd)"
python="$checkout/.venv/bin/python"

refuse() {
    echo "launch/sweep.sh: $1" >&2
    exit 2
}

jobs=1
only=""
dry_run=false
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
[[ "$jobs" =~ ^[1-9][0-9]*$ ]] || refuse "--jobs is '$jobs'; it must be a positive whole number."
[[ -z "$only" || "$only" =~ ^[0-9]+(,[0-9]+)*$ ]] || refuse "--only is '$only'; write it as 0,3."
[[ ${#flags[@]} -gt 0 ]] || refuse "--config is missing; it takes a file such as configs/sweep.py."

# What there is to do: a line for each combination with its number, how far it is, and its folder.
listing=(bash "$checkout/launch/local.sh" "${flags[@]}" --mode=sweep)
if $dry_run && [[ ! -x "$python" ]]; then
    "${listing[@]}" --dry_run
    refuse "the runs can be listed once these commands have made the environment."
fi
table="$("${listing[@]}")"

numbers="${only//,/ }"
[[ -n "$numbers" ]] || numbers="$(awk '$1 ~ /^[0-9]+$/ { print $1 }' <<< "$table")"
pending=()
for number in $numbers; do
    line="$(awk -v number="$number" '$1 ~ /^[0-9]+$/ && $1 == number + 0' <<< "$table")"
    [[ -n "$line" ]] || refuse "--only is '$only', but there is no combination $number."
    if [[ "$(awk '{ print $2 }' <<< "$line")" == complete ]]; then
        echo "[$number] is complete." >&2
    elif $dry_run; then
        printf '%q ' "$python" -m diffpattern.main "${flags[@]}" --sweep="$number"
        echo
    else
        pending+=("$number")
    fi
done
[[ ${#pending[@]} -gt 0 ]] || exit 0

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
    echo "Failed: $(sort -n "$failed" | tr '\n' ' ')of ${#pending[@]}; the same command goes on." >&2
    exit 1
fi
