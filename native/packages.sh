#!/bin/bash
# Installs what the build needs and is missing (as root, with apt-get), or says what that is.
#
#   packages.sh [--check] [source|criu|bundle|native|all]
#
#   source   what unpacking and patching CRIU's sources needs
#   criu     what building CRIU needs
#   bundle   what making a bundle for another machine needs
#   native   what the C parts, CRIU among them, their tests and the demonstration need
#   all      also Maven, a JDK 25 and what the tests of the Java parts need, clang for the fuzz targets, what CPack and the
#            test of the package ask, runc for the test of containers, and the formatter of C (the default)
#   --check  install nothing, only say what is missing
#
# Several of these may run at the same time, beside other users of apt. Ends with status 0 when nothing is missing any
# more.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "packages: $*" >&2; }

check=0
what=all
for argument; do
	case $argument in
	--check) check=1 ;;
	source | criu | bundle | native | all) what=$argument ;;
	*) sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done

# program, header, archive or module of Python = Debian package
source_needs=(patch=patch xz=xz-utils python3=python3)
criu_needs=(
	make=make gcc=gcc pkg-config=pkg-config stdio.h=libc6-dev
	protoc=protobuf-compiler protoc-c=protobuf-c-compiler
	google/protobuf/descriptor.proto=libprotobuf-dev libprotobuf-c.a=libprotobuf-c-dev
	sys/capability.h=libcap-dev libnet.h=libnet1-dev libnl3/netlink/netlink.h=libnl-3-dev uuid/uuid.h=uuid-dev
)
native_needs=(
	c++filt=binutils cmake=cmake ninja=ninja-build unshare=util-linux fincore=util-linux-extra
	libxxhash.a=libxxhash-dev
	libjson-c.a=libjson-c-dev libinih.a=libinih-dev cmocka.h=libcmocka-dev debootstrap=debootstrap
	ip=iproute2 python:yaml=python3-yaml python:google.protobuf=python3-protobuf
)
package_needs=(dpkg-shlibdeps=dpkg-dev file=file lintian=lintian)
fuzz_needs=(clang=clang libclang_rt.fuzzer-x86_64.a=libclang-rt-dev)
format_needs=(clang-format-19=clang-format-19) # as native/dev has it
container_needs=(runc=runc)
java_test_needs=(
	iptables-restore=iptables # with which CRIU locks the network of a namespace of its own
	chromium-headless-shell=chromium-headless-shell # in which pages are looked at
)
case $what in
source) needs=("${source_needs[@]}") ;;
criu) needs=("${source_needs[@]}" "${criu_needs[@]}") ;;
bundle) needs=(patchelf=patchelf strip=binutils) ;;
native) needs=("${source_needs[@]}" "${criu_needs[@]}" "${native_needs[@]}") ;;
all)
	needs=("${source_needs[@]}" "${criu_needs[@]}" "${native_needs[@]}" "${package_needs[@]}" "${fuzz_needs[@]}"
		"${format_needs[@]}" "${container_needs[@]}" "${java_test_needs[@]}" mvn=maven)
	;;
esac

is_there() {
	case $1 in
	libclang_rt.*) compgen -G "/usr/lib/llvm-*/lib/clang/*/lib/linux/$1" >/dev/null ;;
	*.h | *.proto)
		compgen -G "/usr/include/$1" >/dev/null || compgen -G "/usr/local/include/$1" >/dev/null ||
			compgen -G "/usr/include/*-linux-gnu/$1" >/dev/null
		;;
	*.a) compgen -G "/usr/lib/*-linux-gnu/$1" >/dev/null || compgen -G "/usr/lib*/$1" >/dev/null ||
		compgen -G "/usr/local/lib*/$1" >/dev/null ;;
	# Of the distribution's own Python, which the tests of CRIU take.
	python:*) /usr/bin/python3 -c "import ${1#*:}" 2>/dev/null ;;
	*) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}

missing=()
jdk_missing=0
look() {
	local need
	missing=()
	for need in "${needs[@]}"; do
		is_there "${need%%=*}" || missing+=("${need#*=}")
	done
	jdk_missing=0
	[ $what != all ] || "$here/find-jdk.sh" >/dev/null || jdk_missing=1
	((${#missing[@]} + jdk_missing == 0))
}

# ---- apt ----

# apt ARGUMENT...: apt-get as soon as nobody else uses apt. It waits for dpkg's lock itself, but not for that of the lists.
apt() {
	local deadline=$((SECONDS + 300)) output
	until output=$(DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qq -o DPkg::Lock::Timeout=300 "$@" 2>&1 9<&-); do
		if [[ $output != *"Could not get lock"* && $output != *"Unable to lock"* ]] || ((SECONDS >= deadline)); then
			echo "$output" >&2
			return 1
		fi
		sleep 1
	done
}

install_jdk() {
	local package
	for package in openjdk-25-jdk-headless temurin-25-jdk; do
		apt-cache show "$package" >/dev/null 2>&1 || continue
		say "installing $package"
		apt install -y --no-install-recommends "$package"
		return
	done
	say "this system's packages have no JDK 25"
	return 1
}

look && exit 0
if [ $check = 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	# One of several that run at the same time installs, and the others find it done.
	exec 9<"${BASH_SOURCE[0]}"
	flock 9
	if ! look; then
		apt update
		if ((${#missing[@]})); then
			say "installing ${missing[*]}"
			apt install -y --no-install-recommends "${missing[@]}"
		fi
		[ $jdk_missing = 0 ] || install_jdk || true
		look && exit 0
	fi
fi
((${#missing[@]} == 0)) || say "missing: apt-get install ${missing[*]}"
[ $jdk_missing = 0 ] ||
	say "missing: a JDK 25 (not in Debian 12; for example Eclipse Temurin 25): unpack one under /usr/lib/jvm or set JAVA25_HOME to it"
exit 1
