#!/usr/bin/env bash
# Brings what the build and the tests need onto this machine, outside the checkout.
#
#   setup.sh build-packages     Debian packages that the Rust build needs (installed only if missing)
#   setup.sh real-parts         all of the below
#   setup.sh kafka|registry|nginx|spark|venv|s3   one of them: Kafka, the schema registry, the proxy before it,
#                               Spark's jars, the Python environment, the S3 server
#
# Everything but the Debian packages lands in $SLUICE_CACHE (default: ${XDG_CACHE_HOME:-~/.cache}/sluice), one folder
# a part, with the digest of what it was made from in `.made-from`. That file is written last; a part whose digest
# differs or is missing (an interrupted run) is made again from nothing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}
mvn_copy=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
mvn_fetch=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy
apicurio=io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all
nginx="nginx of Debian, not installed"
versitygw=github.com/versity/versitygw/cmd/versitygw@v1.8.0

say() { printf '[setup] %s\n' "$*" >&2; }

build_packages() {
  local missing=() package
  for package in cmake g++ make pkg-config libssl-dev libcurl4-openssl-dev libclang-dev zlib1g-dev; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  install_packages "${missing[@]}"
}

install_packages() {
  [ $# -gt 0 ] || return 0
  say "Debian packages: $*"
  update_packages
  with_apt install -y --no-install-recommends "$@"
}

update_packages() { with_apt update; }

# Parts are made side by side, and apt serves one at a time.
with_apt() { (flock 8; DEBIAN_FRONTEND=noninteractive as_root apt-get -qq "$@" >&2) 8>"$cache/.apt.lock"; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || { say "as root, run: $*"; exit 1; }
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  fi
}

# part NAME FILE-OR-TEXT MAKER: runs `MAKER FOLDER` unless the part was made from this very input.
part() {
  local name=$1 input=$2 maker=$3 place=$cache/$1 digest started=$SECONDS
  if [ -f "$input" ]; then digest=$(sha256sum <"$input" | cut -c1-16); else digest=$(sha256sum <<<"$input" | cut -c1-16); fi
  exec 9>"$cache/.$name.lock"
  flock 9
  if [ "$(cat "$place/.made-from" 2>/dev/null)" != "$digest" ]; then
    say "$name: making"
    rm -rf "$place"
    mkdir -p "$place"
    "$maker" "$place"
    echo "$digest" >"$place/.made-from"
    say "$name: made in $((SECONDS - started)) s"
  fi
  exec 9>&-
}

make_kafka() { mvn -q -B -Dstyle.color=never -f "$here/kafka/pom.xml" "$mvn_copy" -DincludeScope=runtime -DoutputDirectory="$1"; }

make_spark() { mvn -q -B -Dstyle.color=never -f "$here/spark/pom.xml" "$mvn_copy" -DincludeScope=runtime -DoutputDirectory="$1"; }

# The application and its libraries, in one archive.
make_registry() {
  mvn -q -B -Dstyle.color=never "$mvn_fetch" -Dartifact="$apicurio" -DoutputDirectory="$1"
  tar xzf "$1"/*.tar.gz -C "$1"
  rm "$1"/*.tar.gz
}

# Taken apart, not installed: installing would start a server on port 80.
make_nginx() {
  (cd "$1" && { apt-get download -qq nginx 2>/dev/null || { update_packages; apt-get download -qq nginx; }; }) >&2
  dpkg-deb -x "$1"/nginx_*.deb "$1"
  "$1/usr/sbin/nginx" -v 2>/dev/null || install_packages libpcre2-8-0 libssl3 zlib1g
}

make_s3() { GOBIN=$1 GOFLAGS=-buildvcs=false go install "$versitygw"; }

make_venv() {
  python=$(command -v python3.11 || command -v python3)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
  "$python" -m venv "$1"
  "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"
}

mkdir -p "$cache"
for step in "$@"; do
  case $step in
    build-packages) build_packages ;;
    kafka) part kafka "$here/kafka/pom.xml" make_kafka ;;
    spark) part spark "$here/spark/pom.xml" make_spark ;;
    venv) part venv "$here/requirements.txt" make_venv ;;
    s3) part s3 "$versitygw" make_s3 ;;
    registry) part registry "$apicurio" make_registry ;;
    nginx)
      part nginx "$nginx" make_nginx
      # Its passwords and certificates are made by the tests.
      command -v openssl >/dev/null || install_packages openssl
      ;;
    real-parts)
      # Downloads wait on the network, the S3 server on the compiler: side by side.
      pids=()
      for one in kafka registry nginx spark venv s3; do "$0" "$one" & pids+=($!); done
      for pid in "${pids[@]}"; do wait "$pid"; done
      ;;
    *) say "no such step: $step"; exit 2 ;;
  esac
done
