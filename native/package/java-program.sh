#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes what the Java command line needs where there is no JDK, from its jar:
#
#   java-program.sh JAR LIBRARY VERSION FOLDER
#
#   FOLDER/runtime          a runtime image with the modules that it uses, by jlink
#   FOLDER/rekindle.jar     the program, with no class that is too old for the next
#   FOLDER/rekindle.aot     its classes, loaded and linked, for this runtime and this jar: both have to stay as they are
#   FOLDER/completions      completion for bash
#   FOLDER/man              man pages, both from the help of every subcommand
#
# LIBRARY is librekindle.so, which a start of the program loads. JAVA25_HOME: a JDK 25 or newer, else the first one that
# is found.
set -euo pipefail

jar=$1 library=$2 version=$3 folder=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() { echo "java-program: $*" >&2; exit 1; }

jdk=$("$here/../find-jdk.sh") || die "no JDK 25 was found: install one under /usr/lib/jvm or set JAVA25_HOME to it"
rm -rf -- "$folder"
mkdir -p "$folder"

# Short lives: the second compiler does not pay in them.
short=(-J-XX:TieredStopAtLevel=1 -J-XX:+UseSerialGC)
modules=$("$jdk/bin/jdeps" "${short[@]}" --print-module-deps --ignore-missing-deps --multi-release 25 "$jar")
"$jdk/bin/jlink" "${short[@]}" --add-modules "$modules" --strip-debug --no-header-files --no-man-pages --output "$folder/runtime"
# The symbols of debuggers, which jlink leaves in a runtime that it makes of a runtime; and files that nobody may write.
find "$folder/runtime" -type f -exec chmod u+w {} +
find "$folder/runtime" -type f \( -name '*.so' -o -perm -u+x \) -exec strip --strip-unneeded {} +
cp "$jar" "$folder/rekindle.jar"
"$jdk/bin/java" "${short[@]#-J}" "$here/ModernClasses.java" "$folder/rekindle.jar" >&2

java=("$folder/runtime/bin/java")
mapfile -t options < <(grep -v '^#' "$here/java.options")
mkdir "$folder/training"
"${java[@]}" "${options[@]}" -XX:AOTCacheOutput="$folder/rekindle.aot" -Drekindle.library.path="$library" \
	-cp "$folder/rekindle.jar" dev.rekindle.cli.Training "$folder/training" >"$folder/aot.log" 2>&1 ||
	{ cat "$folder/aot.log" >&2; die "no AOT cache was made"; }
rm -rf "$folder/training"
[ -s "$folder/rekindle.aot" ] || { cat "$folder/aot.log" >&2; die "no AOT cache was made"; }
rm "$folder/aot.log"

"${java[@]}" -cp "$folder/rekindle.jar" -Drekindle.library.path="$library" dev.rekindle.cli.Documents "$folder" "$version"
sed -i 1d "$folder/completions/rekindle" # it is read by a shell, not run
gzip -9n "$folder"/man/man1/*.1
