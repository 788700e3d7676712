#!/usr/bin/env bash
# Rows of docs/methods.md: the methods and their controls on the embedded data, on the long-tail
# splits of shapes-simclr.sh, whose SimCLR runs are their partners.
# Usage: experiments/shapes-methods.sh [SEED ...]   (default 0 1 2 3); NAMES chooses some of them
set -eu
[ $# -gt 0 ] || set -- 0 1 2 3
all="bcl-i simclr-shuffled sdclr bcl-d sdclr-shuffled simclr-constant simclr-inverted sdclr-constant sdclr-inverted sdclr-5e-4"
for name in ${NAMES:-$all}; do
  for seed in "$@"; do
    mirrored=$([ $((seed % 2)) = 1 ] && echo true || echo false)
    run=runs/shapes-methods/$name-$seed kept=data/results/shapes-methods/$name-$seed
    [ -e $kept ] && continue
    method=$name options=
    case $name in
    *-constant | *-shuffled | *-inverted) method=${name%-*} options="--set boost=${name#*-}" ;;
    sdclr-5e-4) method=sdclr options="--set weight_decay=5e-4" ;; # SimCLR's, to tell it from pruning
    esac
    rm -rf $run
    ltcl run --preset quick --method $method --split long-tail $options --set seed=$seed \
      --set split_seed=$((seed / 2)) --set mirrored=$mirrored --out $run
    ltcl probe $run --shots 100,50 --protocol logistic
    ltcl record $run $kept
  done
done
