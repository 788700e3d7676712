#!/usr/bin/env bash
# README's quick results on real images. Usage: experiments/cifar100-quick.sh DATA LISTS [SEED ...]
# DATA is cifar100 or npz:.../cifar100_train.npz, LISTS the folder of the published split lists.
# NAMES chooses some of the methods and controls.
set -eu
data=$1 lists=$2
shift 2
[ $# -gt 0 ] || set -- 0 1 2
for s in "$@"; do
  for name in ${NAMES:-untrained simclr bcl-i simclr-shuffled sdclr bcl-d sdclr-shuffled}; do
    run=runs/cifar100-quick/$name-$s kept=data/results/cifar100-quick/$name-$s
    [ -e "$kept" ] && continue
    method=$name more=
    case $name in
    untrained) method=simclr more="--set epochs=0" ;;
    *-shuffled) method=${name%-*} more="--set boost=shuffled" ;;
    esac
    rm -rf "$run"
    ltcl run --method $method --data "$data" --split "$lists/cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy" \
      --preset quick --set seed=$s $more --out "$run"
    ltcl probe "$run" --shots full,100,50 --lists "$lists"
    ltcl record "$run" "$kept"
  done
done
