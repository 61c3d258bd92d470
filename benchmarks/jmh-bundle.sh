#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Adds to a folder that h200/bundle.sh made what jmh-device.sh needs on a machine without a JDK: jmh-bundle.sh FOLDER
# FOLDER/java is a small runtime made by jlink (JAVA25_HOME, or a JDK 25 under /usr/lib/jvm), FOLDER/benchmarks.jar the
# benchmarks, which `mvn -B package` builds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
to=${1:?usage: jmh-bundle.sh FOLDER}
jar=$here/target/benchmarks.jar
[ -r "$jar" ] || { echo "jmh-bundle.sh: there is no $jar: run mvn -B package -DskipTests" >&2; exit 1; }
jlink=$("$here/../native/find-jdk.sh" jlink)/bin/jlink ||
	{ echo "jmh-bundle.sh: no JDK 25 was found: set JAVA25_HOME" >&2; exit 1; }
mkdir -p "$to"
rm -rf "$to/java"
"$jlink" --add-modules java.base,java.logging,java.management,jdk.management,jdk.jfr,jdk.unsupported \
	--compress zip-9 --no-man-pages --no-header-files --strip-debug --output "$to/java"
strip "$to/java/lib/server/libjvm.so"
cp "$jar" "$to/"
du -sh "$to/java" "$to/benchmarks.jar" >&2
