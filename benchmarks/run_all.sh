#!/usr/bin/env bash
# All benchmarks, one after the other, as Markdown on standard output: `make bench`, or run_all.sh PYTHON.
# Tables on real stacks need the folder of labelled stacks (../shared/data) and are left
# out where it is missing; everything else makes its own scenes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
data=../shared/data

run() {
  printf '\n### %s\n\n' "$*"
  "$python" "$@"
}

run benchmarks/measures_speed.py
run benchmarks/scoring_speed.py
run benchmarks/fusion_speed.py
run benchmarks/fusion_quality.py
run benchmarks/fusion
run benchmarks/mask_fusion_speed.py
if [ -d "$data" ]; then
  run benchmarks/measures_accuracy.py "$data"
  run benchmarks/best_slice.py
  run benchmarks/masks.py "$data"
fi
if command -v xvfb-run >/dev/null; then
  printf '\n### benchmarks/heartbeat.py\n\n'
  xvfb-run -a -s '-screen 0 1600x1000x24' "$python" benchmarks/heartbeat.py
fi
