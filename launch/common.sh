# shellcheck shell=bash
# What the launchers share. They source it, and say in `dry_run` whether commands are only printed.

checkout="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$checkout/.venv/bin/python"
# Exit codes of a run that was told to stop and wants to be started again: once it has saved itself,
# and where SIGTERM came so early that it did not listen yet. That of one in which something did not
# answer.
# shellcheck disable=SC2034
requeue=75 unheard=143 unavailable=69
# How many mishaps a run may have, and how many it had.
max_mishaps=10 mishaps=0
dry_run=false

refuse() {
    echo "launch/$(basename "$0"): $1" >&2
    exit 2
}

# Runs a command, or prints it.
run() {
    if $dry_run; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

# again CODE: whether a run that ended so is to be started again: as often as it takes where it was
# told to stop, and so many times where something did not answer, a process was killed, or the
# connection to it was lost (255). Anything else would happen again.
again() {
    (($1 == 0)) && return 1
    (($1 == requeue || $1 == unheard)) && return
    (($1 == unavailable || $1 > 128)) && ((++mishaps <= max_mishaps))
}

# require_count NAME VALUE: refuses a flag's value that is not a positive whole number.
require_count() {
    [[ "$2" =~ ^[1-9][0-9]*$ ]] || refuse "--$1 is '$2'; it must be a positive whole number."
}

# Makes the environment in .venv, unless it is there, with CUDA where the machine has an NVIDIA card
# or EXTRAS=cuda says so. It counts as made once the package is in it, so a broken attempt is made
# again. PYTHON names the interpreter to make it from.
make_environment() {
    local extras="${EXTRAS:-}"
    if [[ -z "$extras" ]] && command -v nvidia-smi > /dev/null; then extras=cuda; fi
    if ! "$python" -c "import diffpattern.main" 2> /dev/null; then
        run "${PYTHON:-python3}" -m venv "$checkout/.venv"
        run "$python" -m pip install --quiet --editable "$checkout${extras:+[$extras]}"
    fi
}

# find_pending ONLY FLAGS...: puts the numbers of the combinations that are not complete into
# `pending`, of those in ONLY or of all. FLAGS are those of diffpattern.main.
find_pending() {
    local only="$1" numbers number line table
    shift
    [[ -z "$only" || "$only" =~ ^[0-9]+(,[0-9]+)*$ ]] \
        || refuse "--only is '$only'; write it as 0,3."
    # A line for each combination with its number, how far it is, and its folder.
    local listing=(bash "$checkout/launch/local.sh" "$@" --mode=sweep)
    if $dry_run && [[ ! -x "$python" ]]; then
        "${listing[@]}" --dry_run
        refuse "the runs can be listed once these commands have made the environment."
    fi
    table="$("${listing[@]}")" || exit
    numbers="${only//,/ }"
    [[ -n "$numbers" ]] || numbers="$(awk '$1 ~ /^[0-9]+$/ { print $1 }' <<< "$table")"
    pending=()
    for number in $numbers; do
        line="$(awk -v number="$number" '$1 ~ /^[0-9]+$/ && $1 == number + 0' <<< "$table")"
        [[ -n "$line" ]] || refuse "--only is '$only', but there is no combination $number."
        if [[ "$(awk '{ print $2 }' <<< "$line")" == complete ]]; then
            echo "[$number] is complete." >&2
        else
            pending+=("$number")
        fi
    done
}
