#!/bin/bash
# SPDX-License-Identifier: MIT
# Prints the home of the first JDK 25 or newer, as Maven's select-jdk-toolchain looks for one:
#
#   find-jdk.sh [PROGRAM]
#
# PROGRAM is what has to be in its bin folder (javac). Ends with status 1, and prints nothing, where there is none.
set -euo pipefail

program=${1:-javac}
for home in "${JAVA25_HOME:-}" "${JAVA_HOME:-}" /usr/lib/jvm/* /usr/java/* /opt/java/* "${HOME:-}"/.sdkman/candidates/java/*; do
	[ -x "$home/bin/$program" ] && [ -r "$home/release" ] || continue
	[[ $(<"$home/release") =~ (^|$'\n')JAVA_VERSION=\"([0-9]+) ]] && ((BASH_REMATCH[2] >= 25)) || continue
	echo "$home"
	exit 0
done
exit 1
