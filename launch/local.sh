#!/usr/bin/env bash
# Trains or evaluates on this machine, on all of its devices.
#
#   bash launch/local.sh [--dry_run] [flags of diffpattern.main]
#
# The first call makes an environment in .venv of this checkout and installs the package there, with
# CUDA where the machine has an NVIDIA card, or EXTRAS=cuda says so. PYTHON names the interpreter to
# make it from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flags=()
for flag in "$@"; do
    if [[ "$flag" == --dry_run ]]; then dry_run=true; else flags+=("$flag"); fi
done

make_environment
run exec "$python" -m diffpattern.main "${flags[@]}"
