#!/usr/bin/env bash
# Does the published order of methods appear with training length? CIFAR-10-LT of 1,982 images, the
# quick network, runs of 30, 100 and 300 epochs, each with its own schedule, in mirrored pairs.
# Usage: experiments/cifar10-length.sh DATA [SEED ...]   (default seeds 0 1 2 3)
# DATA is cifar10 or npz:.../cifar10_train.npz. Hours on two cores: call it again after a stop, it
# goes on where it was; MINUTES limits one run's share of a call. LENGTHS and NAMES choose a part.
set -eu
data=$1
shift
[ $# -gt 0 ] || set -- 0 1 2 3
for epochs in ${LENGTHS:-30 100 300}; do
  for seed in "$@"; do
    for name in ${NAMES:-simclr sdclr bcl-i simclr-shuffled bcl-d sdclr-shuffled}; do
      run=runs/cifar10-length/$epochs-$name-$seed kept=data/results/cifar10-length/$epochs-$name-$seed
      [ -e $kept ] && continue
      mirrored=$([ $((seed % 2)) = 1 ] && echo true || echo false)
      method=$name options=
      case $name in
      *-shuffled) method=${name%-*} options="--set boost=shuffled" ;;
      sdclr-5e-4) method=sdclr options="--set weight_decay=5e-4" ;; # SimCLR's; not in the default
      esac
      if [ -e $run ]; then
        ltcl run --resume $run ${MINUTES:+--minutes $MINUTES}
      else
        ltcl run --method $method --data "$data" --split long-tail --preset quick $options \
          --set largest_class=800 --set seed=$seed --set split_seed=$((seed / 2)) \
          --set mirrored=$mirrored --set epochs=$epochs --set keep_every=10 \
          ${MINUTES:+--minutes $MINUTES} --out $run
      fi
      [ -e $run/DONE.json ] || continue
      ltcl probe $run --shots 100,50 --protocol logistic
      ltcl record $run $kept
    done
  done
done
