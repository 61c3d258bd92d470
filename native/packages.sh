#!/bin/bash
# Installs what the build needs and is missing (as root, with apt-get), or says what that is.
#
#   packages.sh [--check] [native|all]
#
#   native   what the C parts, their tests and the demonstration need
#   all      also Maven and a JDK 25 for the Java parts (the default)
#   --check  install nothing, only say what is missing
#
# What CRIU's own build needs is installed by criu/provide-criu.sh.
# Ends with status 0 when nothing is missing any more.
set -euo pipefail

say() { echo "packages: $*" >&2; }

check=0
what=all
for argument; do
	case $argument in
	--check) check=1 ;;
	native | all) what=$argument ;;
	*) sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done

# program, header or archive = Debian package
needs=(
	gcc=gcc c++filt=binutils cmake=cmake ninja=ninja-build pkg-config=pkg-config
	python3=python3 unshare=util-linux protoc-c=protobuf-c-compiler
	stdio.h=libc6-dev libprotobuf-c.a=libprotobuf-c-dev libxxhash.a=libxxhash-dev liburing.a=liburing-dev
	libjson-c.a=libjson-c-dev libinih.a=libinih-dev cmocka.h=libcmocka-dev
)

is_there() {
	case $1 in
	*.h) compgen -G "/usr/include/$1" >/dev/null || compgen -G "/usr/local/include/$1" >/dev/null ;;
	*.a) compgen -G "/usr/lib/*-linux-gnu/$1" >/dev/null || compgen -G "/usr/lib*/$1" >/dev/null ||
		compgen -G "/usr/local/lib*/$1" >/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

# The first JDK 25 or newer, as Maven's select-jdk-toolchain looks for one.
find_jdk() {
	local home version
	for home in "${JAVA25_HOME:-}" "${JAVA_HOME:-}" /usr/lib/jvm/* /usr/java/* /opt/java/* "$HOME"/.sdkman/candidates/java/*; do
		[ -x "$home/bin/javac" ] && [ -r "$home/release" ] || continue
		version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$home/release")
		[ "${version:-0}" -ge 25 ] || continue
		echo "$home"
		return 0
	done
	return 1
}

missing=()
for need in "${needs[@]}"; do
	is_there "${need%%=*}" || missing+=("${need#*=}")
done
jdk_missing=0
if [ $what = all ]; then
	command -v mvn >/dev/null || missing+=(maven)
	find_jdk >/dev/null || jdk_missing=1
fi
((${#missing[@]} + jdk_missing)) || exit 0

can_install=0
[ $check = 1 ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || can_install=1

if [ $can_install = 1 ]; then
	# Another apt-get may run at the same time; it is waited for.
	apt=(apt-get -o DPkg::Lock::Timeout=300 -qq)
	"${apt[@]}" update >&2
	if [ $jdk_missing = 1 ]; then
		for package in openjdk-25-jdk-headless temurin-25-jdk; do
			apt-cache show "$package" >/dev/null 2>&1 || continue
			missing+=("$package")
			break
		done
	fi
	if ((${#missing[@]})); then
		say "installing ${missing[*]}"
		DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2
	fi
	missing=()
	if [ $jdk_missing = 1 ] && find_jdk >/dev/null; then
		jdk_missing=0
	fi
fi

if ((${#missing[@]})); then
	say "missing: apt-get install ${missing[*]}"
fi
if [ $jdk_missing = 1 ]; then
	say "missing: a JDK 25 (not in Debian 12; for example Eclipse Temurin 25): unpack one under /usr/lib/jvm or set JAVA25_HOME to it"
fi
((${#missing[@]} + jdk_missing == 0))
