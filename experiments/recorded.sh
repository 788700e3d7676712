#!/usr/bin/env bash
# Rows of the published table at full length: trained on a bare GPU machine, probed where the data is.
#   recorded.sh pack FULL.npz [LISTS]   packed/: the splits' images (all others black), lists, wheels, the commit
#   recorded.sh train RUN [--method M ...]  there; starts a run, or goes on with it (MINUTES=8 stops it)
#   recorded.sh queue FILE              there; the runs of a file like recorded.txt, one after the other
#   recorded.sh bring RUN OUT [SECONDS] there; waits for the run's end, leaves it in OUT in parts of 15 MiB
#   recorded.sh probe RUN OUT [LISTS]   back here; puts the parts together, probes, records the rows
# packed/ is laid out as data/ and copied there, where nothing is replaced: there is the full .npz where
# a run is probed, and cifar100_test.npz. A tree for such a machine needs neither data/results nor .git.
# SPLITS="1 2" packs the images of several splits; WHEELS names packages that are missing there.
set -eu
cd "$(dirname "$0")/.."
job=${1:-none}
shift || true
python=${PYTHON:-python3}
runs=${RUNS:-runs/recorded}
subsets=cifar100_imbSub_with_subsets
export PYTHONPATH="$PWD/packed/site:$PWD"
ltcl() { "$python" -m ltcl_helpers "$@"; }

prepare() { # what was packed, in its place; complains before the hours, not after
  if ls packed/wheels/*.whl > /dev/null 2>&1 && [ ! -d packed/site ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target packed/site packed/wheels/*.whl
  fi
  if [ -d packed/data ]; then cp --recursive --no-clobber packed/data/. data/; fi
  if [ -f packed/commit ] && [ ! -e .git ]; then
    LTCL_GIT_COMMIT=$(cat packed/commit) && export LTCL_GIT_COMMIT
  fi
  "$python" - <<'PYTHON'
import importlib
import io
import sys
needed = ["filelock", "lazy_loader", "numpy", "pandas", "pydantic", "safetensors", "torch", "tqdm"]
absent = []
for name in needed:
    try:
        importlib.import_module(name)
    except ImportError:  # the package, or what it needs itself
        absent.append(name)
if "pandas" not in absent:
    import pandas
    try:
        pandas.DataFrame().to_parquet(io.BytesIO())
    except ImportError:
        absent.append("fastparquet")  # or pyarrow, which is 50 MB more to carry
if absent:
    sys.exit(f"recorded.sh: {', '.join(absent)} missing here; pack with WHEELS='{' '.join(absent)}'")
PYTHON
}

case $job in
pack)
  full=$1 lists=${2:-data/splits}
  rm -rf packed
  mkdir -p "packed/data/splits/$subsets" packed/wheels
  for split in ${SPLITS:-1}; do
    cp "$lists/$subsets/cifar100_split${split}_D_i.npy" "packed/data/splits/$subsets/"
  done
  "$python" - "$full" "packed/data/splits/$subsets" <<'PYTHON'
import pathlib
import sys
import numpy as np
full = np.load(sys.argv[1])
arrays = {name: full[name] for name in full.files}
index = np.concatenate([np.load(path) for path in pathlib.Path(sys.argv[2]).glob("*.npy")])
used = np.isin(np.arange(len(arrays["labels"])), index)
arrays["images"] = arrays["images"] * used[:, None, None, None].astype(np.uint8)
np.savez_compressed("packed/data/cifar100_train.npz", **arrays)
PYTHON
  # The dependencies of each come along; pip picks them for that machine's Python, not for this one's.
  [ -z "${WHEELS-pydantic}" ] || "$python" -m pip download --quiet --only-binary=:all: --python-version "${THERE:-3.12}" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --dest packed/wheels ${WHEELS-pydantic}
  git describe --always --abbrev=40 --dirty=+ --match '' > packed/commit
  du --summarize --human-readable packed
  ;;
train)
  run=$1
  shift
  prepare
  if [ -f "$runs/$run/config.json" ]; then
    ltcl run --resume "$runs/$run" ${MINUTES:+--minutes "$MINUTES"}
  else
    ltcl run --preset paper --data npz:data/cifar100_train.npz \
      --split "data/splits/$subsets/cifar100_split1_D_i.npy" \
      --out "$runs/$run" ${MINUTES:+--minutes "$MINUTES"} "$@"
  fi
  ;;
queue)
  while read -r run options; do
    case $run in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2086
    bash experiments/recorded.sh train "$run" $options < /dev/null || echo "recorded.sh: $run failed, the next begins" >&2
  done < "$1"
  ;;
bring)
  run=$1 out=$2 until=$(($(date +%s) + ${3:-0}))
  while [ ! -f "$runs/$run/DONE.json" ]; do
    if [ "$(date +%s)" -ge "$until" ]; then
      echo "recorded.sh: $run is not done (no DONE.json); train goes on with it" >&2
      exit 3
    fi
    sleep 2
  done
  tar --create --gzip --directory "$runs" "$run" | split --bytes=15M - "$out/$run.tar.gz."
  ;;
probe)
  run=$1 out=$2 lists=${3:-data/splits}
  mkdir -p "$runs"
  cat "$out/$run.tar.gz."* | tar --extract --gzip --directory "$runs"
  ltcl probe "$runs/$run" --shots "${SHOTS:-full,100,50}" --lists "$lists"
  ltcl record "$runs/$run" "${RESULTS:-data/results/cifar100-paper}/$run"
  ;;
*)
  echo "recorded.sh: '$job' is none of pack, train, queue, bring, probe" >&2
  exit 2
  ;;
esac
