#!/bin/sh
# Says which system tools are missing and installs them where that is allowed (Debian or Ubuntu, as root or with sudo).
# Verilator compiles C++ with g++ and make, and its FST waveforms with lz4 and zlib; Icarus is the second Verilog
# simulator; Verilator's front end is Perl.
set -eu

missing=""
for pair in g++:g++ make:make perl:perl iverilog:iverilog; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
"${PYTHON:-python3}" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
wanted="" # all but FST waveforms does without
for pair in lz4.h:liblz4-dev zlib.h:zlib1g-dev; do
    echo "#include <${pair%%:*}>" | c++ -E -x c++ - >/dev/null 2>&1 || wanted="$wanted ${pair#*:}"
done
[ -n "$missing$wanted" ] || exit 0

echo "Missing system packages:$missing$wanted"
give_up() {
    echo "$1$missing$wanted" >&2
    [ -z "$missing" ] # what is only wanted stops nobody
    exit
}
command -v apt-get >/dev/null 2>&1 || give_up "Install them with the package manager of this system, then run make again:"
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    give_up "Install them with: sudo apt-get install"
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing $wanted >/dev/null
