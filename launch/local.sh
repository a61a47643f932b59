#!/usr/bin/env bash
# Trains or evaluates on this machine, on all of its devices.
#
#   bash launch/local.sh [--dry_run] [flags of diffpattern.main]
#
# The first call makes an environment in .venv of this checkout and installs the package there, with
# CUDA where the machine has an NVIDIA card. PYTHON names the interpreter to make it from.
set -euo pipefail

checkout="$(cd "$(dirname "$0")/.." && pwd)"
environment="$checkout/.venv"
extras=""
command -v nvidia-smi > /dev/null && extras="[cuda]"

dry_run=false
flags=()
for flag in "$@"; do
    if [[ "$flag" == --dry_run ]]; then dry_run=true; else flags+=("$flag"); fi
done

run() {
    if $dry_run; then printf '%q ' "$@"; echo; else "$@"; fi
}

# The environment counts as made once the package is in it, so a broken attempt is made again.
if ! "$environment/bin/python" -c "import diffpattern.main" 2> /dev/null; then
    run "${PYTHON:-python3}" -m venv "$environment"
    run "$environment/bin/python" -m pip install --quiet --editable "$checkout$extras"
fi
run exec "$environment/bin/python" -m diffpattern.main "${flags[@]}"
