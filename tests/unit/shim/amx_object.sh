#!/bin/sh
# amx_object.sh ARCHIVE: the kernel that ships has the processor's own tile instructions.
set -eu
code=$(objdump -d --no-show-raw-insn "$1")
for word in ldtilecfg tilerelease tilezero tileloadd tilestored tdpbf16ps; do
    n=$(printf '%s\n' "$code" | grep -cw "$word" || true)
    echo "$word: $n"
    [ "$n" -gt 0 ] || { echo "$1 has no $word"; exit 1; }
done
