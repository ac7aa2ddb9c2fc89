#!/usr/bin/env bash
# A real adb daemon, its client and a real sshd for tests, on loopback alone, without touching the system.
#
#   scripts/adbd.sh get FOLDER          unpack the programs into FOLDER (Debian packages of a newer suite, ~10 s)
#   scripts/adbd.sh run FOLDER STATE    start server and daemon for the state folder STATE; runs until stopped
#   scripts/adbd.sh daemon FOLDER STATE start the daemon alone again (after it was killed), in the same namespaces
#   scripts/adbd.sh sshd FOLDER STATE   start sshd for root on 127.0.0.1, port and keys in STATE; runs until stopped
#
# The programs run through their own loader, so that this system's libraries do not matter. `run` puts them into network
# and mount namespaces of their own: nothing listens outside, and the daemon's / has its own /data (STATE/phone-mib MiB,
# default 64), which is where a phone keeps things. STATE/standins is put before the daemon's PATH: what it lacks (am, pm,
# getprop, dumpsys, run-as) is played by the files there. Clients need ADB_SERVER_SOCKET=localfilesystem:STATE/adb.sock;
# the daemon's serial number is 127.0.0.2:5555 after `adb connect` (127.0.0.3:5555 is the same daemon once more).
#
# Exit code 77: this cannot be had here (not Debian-like, not root, no namespaces, no network); a sentence says why.
set -euo pipefail

SUITE=trixie
PACKAGES="adb adbd openssh-server openssh-sftp-server"

self="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")"

source "$(dirname "$self")/debian.sh"

get() {
  local folder="$1"
  begin "$folder" "$self" || return 0
  # shellcheck disable=SC2086  # the packages are words
  unpack "$SUITE" amd64 "$folder/root" $PACKAGES
  wrap "$folder" adb usr/lib/android-sdk/platform-tools/adb
  wrap "$folder" adbd usr/lib/android-sdk/platform-tools/adbd
  wrap "$folder" sshd usr/sbin/sshd
  wrap "$folder" sshd-session usr/lib/openssh/sshd-session
  wrap "$folder" sshd-auth usr/lib/openssh/sshd-auth
  finish "$folder"
}

# A program that starts another by its own path in the unpacked root, through the root's loader and libraries.
wrap() {
  local folder name="$2" target="$3"
  folder="$(cd "$1" && pwd)"
  mkdir -p "$folder/bin"
  cat > "$folder/bin/$name" <<WRAPPER
#!/bin/sh
root='$folder/root'
libraries=\$(cd "\$root" && printf '%s:' "\$root"/usr/lib/*-linux-gnu "\$root"/usr/lib/*-linux-gnu/android "\$root"/usr/lib/*-linux-gnu/systemd)
exec "\$root"/usr/lib64/ld-linux-x86-64.so.2 --library-path "\$libraries" "\$root/$target" "\$@"
WRAPPER
  chmod +x "$folder/bin/$name"
}

check() {
  [ "$(id -u)" = 0 ] || refuse "namespaces need root."
  [ "$(uname -m)" = x86_64 ] || refuse "it is written for x86-64."
  command -v ip >/dev/null || refuse "it needs the program ip (iproute2)."
  unshare --net --mount true 2>/dev/null || refuse "this system allows no namespaces."
}

run() {
  check
  exec unshare --net --mount "$self" inside "$1" "$2"
}

inside() {
  local folder="$1" state="$2" root
  ip link set lo up
  # The server takes whatever listens on 127.0.0.1:5555 for an emulator, and would list the daemon twice.
  ip -4 addr flush dev lo
  ip -6 addr flush dev lo
  ip addr add 127.0.0.2/32 dev lo
  ip addr add 127.0.0.3/32 dev lo
  root="$state/root"
  mkdir -p "$root"
  mount -t tmpfs -o mode=755 tmpfs "$root"
  for path in /*; do
    name="${path#/}"
    if [ -L "$path" ]; then
      cp -P "$path" "$root/$name"
    elif [ -d "$path" ] && [ "$name" != data ]; then
      mkdir "$root/$name"
      mount --rbind "$path" "$root/$name"
    fi
  done
  mkdir "$root/data"
  mount -t tmpfs -o "size=$(cat "$state/phone-mib" 2>/dev/null || echo 64)m" tmpfs "$root/data"
  mkdir -p "$root/data/local/tmp" "$root/data/data" "$root/data/app"
  chmod 777 "$root/data/local/tmp"
  echo $$ > "$state/inside.pid"
  HOME="$state" "$folder/bin/adb" -L "localfilesystem:$state/adb.sock" server nodaemon > "$state/server.log" 2>&1 &
  echo $! > "$state/server.pid"
  start_daemon "$folder" "$state"
  touch "$state/ready"
  trap 'kill -9 "$(cat "$state/server.pid")" "$(cat "$state/adbd.pid")" 2>/dev/null' EXIT
  trap 'exit 0' TERM INT HUP
  # Daemons come and go; the end of the server, or of whoever started this, is the end.
  local parent="$PPID"
  while kill -0 "$(cat "$state/server.pid")" "$parent" 2>/dev/null; do
    sleep 1 &
    wait $!
  done
}

daemon() {
  # Into the namespaces of `run`, where loopback and the phone's / are.
  exec nsenter --target "$(cat "$2/inside.pid")" --net --mount "$self" again "$1" "$2"
}

sshd() {
  check
  exec unshare --mount "$self" inside-sshd "$1" "$2"
}

inside_sshd() {
  local folder="$1" state="$2"
  # The user that sshd wants, and its folder, in this mount namespace only.
  cp /etc/passwd "$state/passwd"
  grep -q '^sshd:' "$state/passwd" || echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >> "$state/passwd"
  mount --bind "$state/passwd" /etc/passwd
  mount -t tmpfs tmpfs /run
  mkdir -p /run/sshd
  for name in host client; do
    [ -f "$state/$name" ] || ssh-keygen -q -t ed25519 -N '' -f "$state/$name"
  done
  cat > "$state/sshd_config" <<CONFIG
ListenAddress 127.0.0.1:$(cat "$state/port")
HostKey $state/host
AuthorizedKeysFile $state/client.pub
SshdSessionPath $folder/bin/sshd-session
SshdAuthPath $folder/bin/sshd-auth
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
CONFIG
  exec "$folder/bin/sshd" -D -e -f "$state/sshd_config"
}

start_daemon() {
  local folder="$1" state="$2"
  PATH="$state/standins:$PATH" setsid chroot "$state/root" "$folder/bin/adbd" > "$state/adbd.log" 2>&1 < /dev/null &
  echo $! > "$state/adbd.pid"
}

case "${1:-}" in
  get)
    [ "$(uname -m)" = x86_64 ] || refuse "it is written for x86-64."
    get "$2"
    ;;
  run) run "$(cd "$2" && pwd)" "$(cd "$3" && pwd)" ;;
  daemon) daemon "$(cd "$2" && pwd)" "$(cd "$3" && pwd)" ;;
  sshd) sshd "$(cd "$2" && pwd)" "$(cd "$3" && pwd)" ;;
  inside) inside "$2" "$3" ;;
  inside-sshd) inside_sshd "$2" "$3" ;;
  again) start_daemon "$2" "$3" ;;
  *) sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
