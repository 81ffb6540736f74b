# Shared by the scripts of this folder: sourced, not run.

# Distribution packages that a node needs at run time, and those that the build needs.
NODE_PACKAGES="containerd runc iptables containernetworking-plugins conntrack busybox-static iproute2 procps kmod util-linux"
BUILD_PACKAGES="gcc libc6-dev protobuf-compiler lld"
TEST_PACKAGES="etcd-server nftables python3"

# install_packages PACKAGE...: installs those that are missing.
install_packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # The distribution would start its own containerd and etcd; the clusters here bring their own.
  local policy=/usr/sbin/policy-rc.d
  local made=0
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; made=1; fi
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  [ $made = 1 ] && rm -f $policy
  return 0
}

# need_root: network namespaces and containers need it.
need_root() {
  [ "$(id -u)" = 0 ] || { echo "$0: needs root: sudo $0" >&2; exit 1; }
}

# find_cargo: sudo drops the caller's search path, so the caller's toolchain is looked up.
find_cargo() {
  command -v cargo >/dev/null && return
  local home
  home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
  export PATH="$home/.cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
  command -v cargo >/dev/null || { echo "no Rust toolchain found (see https://rustup.rs)" >&2; exit 1; }
}

# build_pause DIR: the sandbox program, built statically, as DIR/keelson-pause (`pause` there is the dynamic one of a whole build).
build_pause() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS="-Ctarget-feature=+crt-static" cargo build --quiet --release --package pause --target "$host"
  command install -D -m 755 "${CARGO_TARGET_DIR:-target}/$host/release/pause" "$1/keelson-pause"
}
