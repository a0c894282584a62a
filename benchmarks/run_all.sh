#!/usr/bin/env bash
# The benchmarks, one after the other, as Markdown on standard output: `make bench`, or run_all.sh PYTHON [long].
# Without "long" each takes minutes at most; what takes longer is run on few samples, or stands at the end.
# Tables on real stacks and on sharp images need the folder of labelled stacks (../shared/data) and are left
# out where it is missing; everything else makes its own scenes. accuracy/misled.py draws a picture and is left out.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
long=${2:-}
data=../shared/data
figures=$(mktemp -d)

run() {
  printf '\n### %s\n\n' "$*"
  "$python" "$@"
}

run benchmarks/measures_speed.py
run benchmarks/scoring_speed.py
run benchmarks/networks_speed.py
if "$python" -c 'import onnxscript, onnxruntime' 2>/dev/null; then
  run benchmarks/networks_onnx.py
fi
run benchmarks/gmanet_speed.py --stacks 2
run benchmarks/fusion_speed.py
run benchmarks/fusion_quality.py
run benchmarks/fusion
run benchmarks/mask_fusion_speed.py
if [ -d "$data" ]; then
  run benchmarks/measures_accuracy.py "$data"
  run benchmarks/best_slice.py
  run benchmarks/masks.py "$data" --limit 10
  run benchmarks/autofocus.py --starts 20
  run benchmarks/blind_quality.py --limit 4
  run benchmarks/fusing_networks.py --scenes 2
  run benchmarks/deblurring.py --quick -o "$figures"
  run benchmarks/accuracy/clearest.py --real -o "$figures"
  run benchmarks/accuracy/defocus.py --quick -o "$figures"
  run benchmarks/accuracy/run.py --quick -o "$figures"
fi
if command -v xvfb-run >/dev/null; then
  printf '\n### benchmarks/heartbeat.py\n\n'
  xvfb-run -a -s '-screen 0 1600x1000x24' "$python" benchmarks/heartbeat.py
fi

# Tens of minutes to hours each, on all samples: what the documentation's figures come from.
if [ "$long" = long ] && [ -d "$data" ]; then
  run benchmarks/masks.py "$data"
  run benchmarks/autofocus.py               # 200 starts for each method
  run benchmarks/blind_quality.py           # every held-out image, nine kinds of distortion
  run benchmarks/deblurring.py -o "$figures"
  run benchmarks/accuracy/clearest.py -o "$figures"  # 200 simulated stacks
  run benchmarks/accuracy/gmanet_ablations.py -o "$figures/ablations"  # trains for hours
  run benchmarks/fusing_networks.py
  run benchmarks/accuracy/run.py -o "$figures"       # MMDF's and LDSE-NET's tables, with intervals
  if "$python" -m napari_focusstack.cli models hhnet >/dev/null 2>&1; then
    run benchmarks/accuracy/hhnet_table.py -o "$figures"  # needs a trained hhnet
  fi
fi
