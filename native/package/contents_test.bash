#!/bin/bash
# SPDX-License-Identifier: MIT
# What the Debian package is made of: lintian finds no error in it, its copyright file names whatever was linked into its
# programs and packed into its jar, and the JVM takes the program from its AOT cache.
#
#   contents_test.bash PACKAGE
set -euo pipefail

fail() { echo "FAILED: $*"; exit 1; }
package=$(realpath "$1")
build=$(dirname "$package")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
dpkg-deb -x "$package" "$work/root"
copyright=$work/root/usr/share/doc/rekindle/copyright

lintian --fail-on error "$package" || fail "lintian finds errors"
echo "ok: lintian"

# By the commands of the build, whatever the sources say of them.
linked=$(grep -oE '/usr/[^ ]*/lib[^ /]+\.a' "$build/build.ninja" | sort -u)
[ -n "$linked" ] || fail "build.ninja links no static library"
for library in $linked; do
	name=$(basename "$library" .a)
	grep -qx "License: ${name#lib}" "$copyright" || fail "the copyright file has no licence of $library"
	echo "ok: ${name#lib}"
done

# It says of each library which packages are its own.
/usr/bin/python3 - "$work/root/usr/lib/rekindle/java/rekindle.jar" "$copyright" <<'END' || fail "the copyright file does not name all of the jar"
import re, sys, zipfile

jar, copyright = sys.argv[1:]
own = re.findall(r"\(([a-z0-9_.]{2,})\)", open(copyright).read())
classes = {re.sub(r"^META-INF/versions/\d+/", "", name) for name in zipfile.ZipFile(jar).namelist() if name.endswith(".class")}
packages = {name.rpartition("/")[0].replace("/", ".") for name in classes} - {""}
missing = sorted(package for package in packages if not any((package + ".").startswith(name + ".") for name in own))
print("not named:", *missing) if missing else print("ok:", *own)
sys.exit(1 if missing or not packages else 0)
END

# The help of each command names it.
cmp "$(dirname "$0")/../../java/cli/src/main/resources/dev/rekindle/cli/rekindle-schema.json" \
	"$work/root/usr/share/rekindle/rekindle-schema.json" || fail "the schema of --json is not in the package"
echo "ok: the schema"

# A cache that does not fit its runtime and jar is passed over in silence.
sed 's/-Xlog:disable/-Xlog:class+load/' "$work/root/usr/bin/rekindle" >"$work/root/usr/bin/rekindle-log"
sh "$work/root/usr/bin/rekindle-log" pool status --pool-socket /nonexistent >"$work/classes" 2>&1 || true
grep -q 'dev.rekindle.cli.PoolCommand source: shared objects file' "$work/classes" ||
	{ grep -v source: "$work/classes"; fail "the program does not come from its AOT cache"; }
if grep 'source: file:.*rekindle.jar' "$work/classes"; then
	fail "these classes are not in its AOT cache"
fi
echo "ok: the AOT cache"
