#!/usr/bin/env bash
# vLLM for an H100 or H200 whose machine reaches no package index and has CPython 3.12, torch 2.11 and triton 3.6: all
# else that `patchbay serve` needs there, in one archive of some 43 MiB for `python -m benchmarks.gpu engine --archive`.
#   benchmarks/gpu/bundle/make.sh OUT.tar.xz     three to ten minutes on two cores; needs pip, unzip, readelf and xz
# vLLM's libraries use torch's stable ABI alone, and load beside an older torch than the one it asks for. Of their
# machine code only that of sm_90 is kept, and modules for other GPUs are left out.
set -euo pipefail
if [ $# != 1 ]; then
  echo "usage: $0 OUT.tar.xz" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")
vllm=0.32.0
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

get() {
  local platforms=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
  # pip takes each version of the C library by its own name
  for minor in 39 35 34 31 28 27 26 24 17 12 5; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" "$@"
}

get -d wheel "vllm==$vllm"
get -d parts -r "$here/packages.txt"
mkdir raw slim
unzip -q wheel/vllm-*.whl -d raw
for part in parts/*.whl; do unzip -qo "$part" -d slim; done

for library in _C_stable_libtorch.abi3.so vllm_flash_attn/_vllm_fa3_C.abi3.so; do
  "$python" "$here/keep_sm90.py" "raw/vllm/$library" "raw/vllm/$library.kept"
done
rm -rf raw/vllm/third_party/{fmha_sm100,deep_gemm,tml_fa4} raw/vllm/entrypoints/serve/instrumentator/static
find raw/vllm \( -name '*.so' -o -name 'vllm-rs*' \) -delete
find raw/vllm -name '*.kept' | while read -r kept; do mv "$kept" "${kept%.kept}"; done
mv raw/vllm raw/vllm-*.dist-info slim/

# so that vLLM finds the plugin, whose code is the checkout's
mkdir slim/patchbay-0.1.0.dist-info
printf 'Metadata-Version: 2.1\nName: patchbay\nVersion: 0.1.0\n' > slim/patchbay-0.1.0.dist-info/METADATA
printf '[vllm.general_plugins]\npatchbay = service.engine.plugin:register\n' \
  > slim/patchbay-0.1.0.dist-info/entry_points.txt
rm -rf slim/bin slim/*.data
tar -C slim -cf - . | xz -9e -T2 > "$out"
ls -l "$out"
