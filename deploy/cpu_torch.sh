# PyTorch's CPU build and the torchvision that was made for it. Read by install.sh, which defines pip, say and fail.
#
# PyPI has no builds with a local version such as +cpu. So pip's own indexes are asked first, which on some machines are
# mirrors that do have them; otherwise, PyTorch's own index of CPU builds. TORCH_INDEX names another one, and is then the
# only one asked. An index is asked for these two alone (--no-deps): whatever they need comes from pip's own indexes, as
# everything else does.
torch="torch==2.13.0+cpu"
torchvision="torchvision==0.28.0+cpu"
pytorch_index="https://download.pytorch.org/whl/cpu"

install_cpu_torch() {
  local from=() refused=
  say "installing PyTorch's CPU build (about 200 MB)"
  if [ -n "${TORCH_INDEX:-}" ] || ! refused=$("${pip[@]}" --no-deps "$torch" 2>&1); then
    [ -n "${TORCH_INDEX:-}" ] ||
      say "pip's own indexes have no $torch: taking it from $pytorch_index (TORCH_INDEX names another)"
    from=(--index-url "${TORCH_INDEX:-$pytorch_index}")
    "${pip[@]}" --no-deps "${from[@]}" "$torch" ||
      fail "there is no $torch in ${from[1]}: set TORCH_INDEX to an index that has it.${refused:+ Before, pip said: ${refused##*ERROR: }}"
  fi
  # else the torchvision of another build is installed later, and torchvision_shim.py makes it import
  "${pip[@]}" --no-deps ${from[@]+"${from[@]}"} "$torchvision" >/dev/null 2>&1 ||
    say "there is no $torchvision beside it: another build of it will be made to import"
}
