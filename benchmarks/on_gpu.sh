#!/usr/bin/env bash
# All that needs a GPU and was not measured, or not since the code changed; what OUT has already is left as it is.
#
#     bash benchmarks/on_gpu.sh DIR OUT [--data MNIST --data CIFAR10 ...]
#
# DIR holds the data sets as `spikeflip train --root` takes them, N-MNIST among them. Into OUT: what the GPU tests say,
# a file of rows for each benchmark as results/ has them, and the reproduction of the paper at its own widths, of the
# data sets that are named. Needs the extras test, spikingjelly and snntorch.
set -euo pipefail
root=$(realpath "$1") out=$2
shift 2
mkdir -p "$out"
out=$(realpath "$out")
cd "$(dirname "$0")/.."

rows() { # NAME SCRIPT ...: the rows of a benchmark
  local file=$out/$1.json
  shift
  [ -s "$file" ] || { python "$@" --device cuda --json > "$file.partial" && mv "$file.partial" "$file"; }
}

[ -s "$out/tests.log" ] || { python -m pytest -q -m gpu > "$out/tests.log.partial" && mv "$out/tests.log.partial" "$out/tests.log"; }
for precision in float32 bf16-gradient; do
  rows "attack-iteration-$precision" benchmarks/attack_iteration.py --samples 64 --precision "$precision"
done
rows training-step benchmarks/training_step.py --networks paper-image paper-spike --width 1 --batch-size 64 --micro-batch 64
spikeflip train --data nmnist --root "$root" --width 1 --device cuda --out "$out/nmnist"
rows whole-attack benchmarks/whole_attack.py --root "$root" --victim "$out/nmnist" --samples 64 --micro-batch 64
for precision in float32 bf16-gradient; do
  spikeflip reproduce all --preset paper --root "$root" --device cuda --precision "$precision" --out "$out/reproduction-$precision" "$@"
done
