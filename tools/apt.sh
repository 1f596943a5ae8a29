# SPDX-License-Identifier: Apache-2.0
# Read by tools/deb, tools/rpm and tools/image: install what a build needs and this machine lacks.
# What cannot be fetched ends the program with 75 (EX_TEMPFAIL of sysexits.h).
# shellcheck shell=sh

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# need PROGRAM PACKAGE...: PROGRAM is who says so.
need() {
    program=$1
    shift
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || {
        echo "$program: this is not Debian: it lacks apt-get and dpkg" >&2
        exit 1
    }
    missing=
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
        "ii "*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    echo "$program: installing$missing"
    install="env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
    # shellcheck disable=SC2086
    as_root $install $missing >/dev/null 2>&1 || {
        as_root apt-get update
        as_root $install $missing
    } || {
        echo "$program: missing:$missing" >&2
        exit 75
    }
}
