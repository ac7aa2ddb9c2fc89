# Sourced by the scripts beside it: unpacks Debian packages into a folder, whatever is installed. Nothing is installed.

# refuse WORDS: this cannot be had here; tests that need it are skipped with these words.
refuse() { echo "$(basename "$0"): $*" >&2; exit 77; }

# unpack SUITE ARCHITECTURE TARGET PACKAGE...: packages and what they depend on, from the Debian repository that this
# system's apt is configured for.
unpack() {
  local suite="$1" architecture="$2" target="$3"
  shift 3
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || refuse "it needs apt-get and dpkg-deb."
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -f "$keys" ] || refuse "the keys of Debian's archive are not installed (debian-archive-keyring)."
  # A line `URIs: ADDRESS` or `deb [options] ADDRESS …`; files of either kind may be missing.
  local source
  source="$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n 's/^\(URIs: *\|deb \(\[[^]]*\] \)\?\)\(http[^ ]*\/debian\/\?\)\( .*\)\?$/\3/p' | head -1 || true)"
  [ -n "$source" ] || refuse "apt has no Debian repository configured."
  local work
  mkdir -p "$target"
  work="$(mktemp -d "$target/apt.XXXXXX")"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  : > "$work/status"
  echo "deb [signed-by=$keys arch=$architecture] $source $suite main" > "$work/sources.list"
  local options=(
    -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o "APT::Sandbox::User=root"
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::State::status=$work/status"
    -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=/dev/null" -o "Acquire::Languages=none"
    -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false" -o "Acquire::Retries=2" -o "Debug::NoLocking=1"
    -o "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"
  )
  apt-get -qq "${options[@]}" update > "$work/log" 2>&1 || refuse "apt-get update failed: $(tail -1 "$work/log")"
  apt-get -qq "${options[@]}" --yes --download-only --no-install-recommends install "$@" > "$work/log" 2>&1 ||
    refuse "the packages cannot be had: $(tail -1 "$work/log")"
  local package
  for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$target"; done
  rm -rf "$work"
}

# begin FOLDER SCRIPT: make and lock the folder; succeeds when what this version of the scripts makes is not there yet.
begin() {
  mkdir -p "$1"
  # One at a time: tests may run side by side.
  exec 9> "$1/lock"
  if command -v flock > /dev/null; then flock 9; fi
  version="$(cat "$2" "$(dirname "$2")/debian.sh" | sha256sum)"
  [ "$(cat "$1/complete" 2>/dev/null)" != "$version" ] || return 1
  rm -rf "$1/complete" "$1/root" "$1/bin"
}

# finish FOLDER: it is whole.
finish() { echo "$version" > "$1/complete"; }
