#!/bin/bash
# SPDX-License-Identifier: MIT
# make_ptx.sh: writes the PTX of hash_kernel.cu to standard output; with the program of clang as an argument, by that one.
# sm_70 is the oldest kind of GPU that is of use here, and newer ones take its text too.
set -euo pipefail
clang=${1:-clang}
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
echo "// SPDX-License-Identifier: MIT"
echo "// Made of hash_kernel.cu by make_ptx.sh, clang $("$clang" -dumpversion | cut -d. -f1)."
"$clang" -x cuda --cuda-device-only --cuda-gpu-arch=sm_70 -nocudainc -nocudalib -Wno-unknown-cuda-version -O3 -S -o - \
	hash_kernel.cu | grep -v -e '^//' -e '^$'
