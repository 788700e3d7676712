#!/usr/bin/env bash
# One row of the published table at full length, trained on a bare GPU machine and probed elsewhere.
#   recorded.sh pack FULL.npz     writes packed/cifar100_train.npz: the split's images, else zeros (30 MB)
#   recorded.sh train METHOD OUT [ltcl run's options]   on the GPU machine; OUT gets the run in parts
#   recorded.sh probe METHOD OUT  puts the parts together, probes against FULL.npz, records the rows
# The run names data/cifar100_train.npz: put the packed file there on the GPU machine, and the full one
# (with cifar100_test.npz) where it is probed. Options after OUT, e.g. --preset tiny, are for a rehearsal.
set -eu
job=$1
shift
lists=${LISTS:-../shared/splits}
split=$lists/cifar100_imbSub_with_subsets/cifar100_split1_D_i.npy
case $job in
pack)
  mkdir -p packed
  python - "$1" "$split" <<'PYTHON'
import sys
import numpy as np
full, index = np.load(sys.argv[1]), np.load(sys.argv[2])
arrays = {name: full[name] for name in full.files}
used = np.isin(np.arange(len(arrays["labels"])), index)
arrays["images"] = arrays["images"] * used[:, None, None, None].astype(np.uint8)
np.savez_compressed("packed/cifar100_train.npz", **arrays)
PYTHON
  ;;
train)
  name=$1 out=$2
  shift 2
  ltcl run --preset paper --method "$name" --data npz:data/cifar100_train.npz --split "$split" \
    --out "runs/recorded/$name" "$@"
  # Files that come back from such a machine are small: one archive in parts of 15 MiB.
  tar --create --gzip --directory runs/recorded "$name" | split --bytes=15M - "$out/$name.tar.gz."
  ;;
probe)
  name=$1 out=$2
  mkdir -p runs/recorded
  cat "$out/$name.tar.gz."* | tar --extract --gzip --directory runs/recorded
  ltcl probe "runs/recorded/$name" --shots full,100,50 --lists "$lists"
  ltcl record "runs/recorded/$name" "data/results/cifar100-paper/$name-0"
  ;;
*)
  echo "recorded.sh: '$job' is none of pack, train, probe" >&2
  exit 2
  ;;
esac
