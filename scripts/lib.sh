# shellcheck shell=bash
# Sourced by scripts/up and scripts/test: brings the machine and the checkout to where they can
# run. Nothing is installed unless it is missing, and nothing at all without root or a sudo that
# asks no password.

NODE_MAJOR=20
NODE_MINOR=19

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

check_node() {
  local version major minor
  have node || die "Node.js >= $NODE_MAJOR.$NODE_MINOR is missing: https://nodejs.org/en/download"
  version=$(node --version)
  version=${version#v}
  major=${version%%.*}
  minor=${version#*.}
  minor=${minor%%.*}
  if ((major < NODE_MAJOR || (major == NODE_MAJOR && minor < NODE_MINOR))); then
    die "Node.js $version is too old, >= $NODE_MAJOR.$NODE_MINOR is needed:" \
      "https://nodejs.org/en/download"
  fi
  have npm || die "npm is missing; it comes with Node.js: https://nodejs.org/en/download"
}

package_manager() {
  local name
  for name in apt-get dnf apk brew; do
    if have "$name"; then
      printf %s "$name"
      return
    fi
  done
}

# The package of a tool, where it is not the tool's own name.
package_of() {
  case "$1:$2" in
    apt-get:softhsm2-util) printf softhsm2 ;;
    *:softhsm2-util) printf softhsm ;;
    *:pkcs11-tool) printf opensc ;;
    apt-get:p11-kit-client.so) printf p11-kit-modules ;;
    *:p11-kit-client.so) printf p11-kit-server ;;
    apt-get:pkcs11-engine) printf libengine-pkcs11-openssl ;;
    *:pkcs11-engine) printf openssl-pkcs11 ;;
    apt-get:p11tool) printf gnutls-bin ;;
    *:p11tool) printf gnutls-utils ;;
    apt-get:certutil) printf libnss3-tools ;;
    *:certutil) printf nss-tools ;;
    apt-get:ssh) printf openssh-client ;;
    *:ssh) printf openssh-clients ;;
    *:sshd) printf openssh-server ;;
    apt-get:jdk) printf openjdk-17-jdk-headless ;;
    apk:jdk) printf openjdk17-jdk ;;
    brew:jdk) printf openjdk ;;
    *:jdk) printf java-17-openjdk-devel ;;
    dnf:aws) printf awscli2 ;;
    apk:aws) printf aws-cli ;;
    *:aws) printf awscli ;;
    dnf:g++) printf gcc-c++ ;;
    brew:g++ | brew:make) printf gcc ;;
    brew:python3) printf python ;;
    apk:boto3) printf py3-boto3 ;;
    *:boto3) printf python3-boto3 ;;
    *) printf %s "$2" ;;
  esac
}

# The module counts, not the tool beside it, as distributions part them.
have_softhsm() {
  [[ -n ${KEYSPAN_HSM_MODULE:-} ]] && return 0
  have softhsm2-util
}

# Tests read AWS's models where Debian's package has them, and another `aws` has none there.
have_aws_cli() {
  if have apt-get; then [[ -x /usr/bin/aws ]]; else have aws; fi
}

# The system's python counts: tests run no other that may come first on the path.
have_boto3() { /usr/bin/python3 -c 'import boto3' >/dev/null 2>&1; }

# Libraries that have no program: whether a file whose path ends so is where distributions put it.
have_library() {
  [[ -n $(find /usr/lib /usr/lib64 -path "*/$1" -print -quit 2>/dev/null) ]]
}

# `java` alone may be a runtime, which can neither make keys nor compile what it is given.
have_jdk() { have java && have javac && have keytool; }

missing_tools() {
  local tool
  for tool in "$@"; do
    case $tool in
      softhsm2-util) have_softhsm || printf '%s ' "$tool" ;;
      p11-kit-client.so) have_library p11-kit-client.so || printf '%s ' "$tool" ;;
      pkcs11-engine) have_library 'engines*/pkcs11.so' || printf '%s ' "$tool" ;;
      sshd) [[ -x /usr/sbin/sshd ]] || printf '%s ' "$tool" ;;
      jdk) have_jdk || printf '%s ' "$tool" ;;
      aws) have_aws_cli || printf '%s ' "$tool" ;;
      boto3) have_boto3 || printf '%s ' "$tool" ;;
      g++) have g++ || have c++ || printf '%s ' "$tool" ;;
      *) have "$tool" || printf '%s ' "$tool" ;;
    esac
  done
}

# install_tools TOOL...: those that are missing, or the command that would install them and exit 1.
install_tools() {
  local manager tool missing
  # never empty, as older shells call an empty array unset
  local -a packages=() install=() prefix=(env DEBIAN_FRONTEND=noninteractive)
  missing=$(missing_tools "$@")
  [[ -z $missing ]] && return 0
  manager=$(package_manager)
  [[ -n $manager ]] || die "Install these, and start again: $missing"
  for tool in $missing; do packages+=("$(package_of "$manager" "$tool")"); done
  case $manager in
    apt-get) install=(apt-get install -y --no-install-recommends "${packages[@]}") ;;
    dnf) install=(dnf install -y "${packages[@]}") ;;
    apk) install=(apk add "${packages[@]}") ;;
    brew) install=(brew install "${packages[@]}") ;;
  esac
  if [[ $manager != brew && $(id -u) -ne 0 ]]; then
    have sudo && sudo -n true 2>/dev/null || die "Run this, and start again: sudo ${install[*]}"
    prefix=(sudo -n "${prefix[@]}")
  fi
  if [[ $manager == apt-get ]]; then
    quietly "reading the package lists" "${prefix[@]}" apt-get update
  fi
  quietly "installing ${packages[*]}" "${prefix[@]}" "${install[@]}"
}

# quietly WHAT COMMAND...: says what happens, and shows the output only of what fails.
quietly() {
  local what=$1 log
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/keyspan-setup.XXXXXX")
  say "keyspan: $what"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    die "keyspan: this failed: $*"
  fi
  rm -f "$log"
}

install_modules() {
  local stamp=node_modules/.package-lock.json
  if [[ ! -f $stamp || package-lock.json -nt $stamp ]]; then
    quietly "installing packages and compiling native modules, about a minute" \
      npm ci --no-audit --no-fund
    touch "$stamp"
  fi
  # so that npx finds the commands in a checkout, whatever its npm can do
  mkdir -p node_modules/.bin
  ln -sf ../../dist/cli/keyspan.cjs node_modules/.bin/keyspan
  ln -sf ../../dist/cli/cloudhsm-cli.cjs node_modules/.bin/cloudhsm-cli
}

BUILT=node_modules/.cache/keyspan/built

# Compiled code is older than a source.
build_is_stale() {
  [[ -x dist/cli/keyspan.cjs && -f $BUILT ]] || return 0
  local sources=(src package.json tsconfig.json scripts/pack.mjs)
  [[ -n $(find "${sources[@]}" -newer "$BUILT" -print | head -n 1) ]]
}

build() {
  build_is_stale || return 0
  mkdir -p "$(dirname "$BUILT")"
  # a source that changes while the compiler runs is newer than this
  touch "$BUILT.next"
  quietly "compiling" npm run --silent build
  mv "$BUILT.next" "$BUILT"
}

# What every script that runs the product needs.
ensure_ready() {
  check_node
  install_tools softhsm2-util python3 make g++
  install_modules
  build
}
