#!/usr/bin/env bash
# Rows of docs/shapes.md: what a quick SimCLR run shows on the embedded data, six seeds in three
# mirrored pairs. Usage: experiments/shapes-simclr.sh [SEED ...]   (default 0 1 2 3 4 5)
set -eu
[ $# -gt 0 ] || set -- 0 1 2 3 4 5
for seed in "$@"; do
  mirrored=$([ $((seed % 2)) = 1 ] && echo true || echo false)
  for kind in untrained long-tail balanced; do
    run=runs/shapes-simclr/$kind-$seed kept=data/results/shapes-simclr/$kind-$seed
    split=$kind epochs=30
    [ $kind = untrained ] && split=long-tail epochs=0
    [ -e $kept ] && continue
    rm -rf $run
    ltcl run --preset quick --split $split --set seed=$seed --set split_seed=$((seed / 2)) \
      --set mirrored=$mirrored --set epochs=$epochs --out $run
    for protocol in bcl logistic; do
      ltcl probe $run --shots 100,50 --protocol $protocol
      [ $kind = untrained ] && ltcl probe $run --shots 100 --protocol $protocol --features pixels
    done
    ltcl record $run $kept
  done
done
