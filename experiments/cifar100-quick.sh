#!/usr/bin/env bash
# README's quick result on real images. Usage: experiments/cifar100-quick.sh DATA LISTS [SEED ...]
# DATA is cifar100 or npz:.../cifar100_train.npz, LISTS the folder of the published split lists.
set -eu
data=$1 lists=$2
shift 2
[ $# -gt 0 ] || set -- 0 1 2
for s in "$@"; do
  for kind in untrained simclr; do
    epochs=30
    [ "$kind" = untrained ] && epochs=0
    [ -e "data/results/cifar100-quick/$kind-$s" ] && continue
    rm -rf "runs/cifar100-quick/$kind-$s"
    ltcl run --method simclr --data "$data" --split "$lists/cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy" \
      --preset quick --set seed=$s --set epochs=$epochs --out runs/cifar100-quick/$kind-$s
    ltcl probe runs/cifar100-quick/$kind-$s --shots full,100,50 --lists "$lists"
    ltcl record runs/cifar100-quick/$kind-$s data/results/cifar100-quick/$kind-$s
  done
done
