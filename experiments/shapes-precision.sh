#!/usr/bin/env bash
# Rows of docs/speed.md: float32 runs whose bf16 partners are the long-tail runs of shapes-simclr.sh.
# Usage: experiments/shapes-precision.sh [SEED ...]   (default 0 1 2 3)
set -eu
[ $# -gt 0 ] || set -- 0 1 2 3
for seed in "$@"; do
  mirrored=$([ $((seed % 2)) = 1 ] && echo true || echo false)
  run=runs/shapes-precision/float32-$seed kept=data/results/shapes-precision/float32-$seed
  [ -e $kept ] && continue
  rm -rf $run
  ltcl run --preset quick --split long-tail --set precision=float32 --set seed=$seed \
    --set split_seed=$((seed / 2)) --set mirrored=$mirrored --out $run
  ltcl probe $run --shots 100,50 --protocol logistic
  ltcl record $run $kept
done
