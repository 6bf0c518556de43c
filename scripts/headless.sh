#!/usr/bin/env bash
# Run a command that opens Qt windows, on a virtual display if there is none.
#
#   scripts/headless.sh COMMAND [ARGUMENT...]
#
# With DISPLAY or WAYLAND_DISPLAY set, and outside Linux, the command runs as
# it is. Otherwise Xvfb is started for it, with the software OpenGL. Missing
# libraries are installed when that is possible (root, apt-get); if not, one
# line says what to install. The exit code is the command's own.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: scripts/headless.sh COMMAND [ARGUMENT...]" >&2
    exit 2
fi

[ "$(uname -s)" = Linux ] || exec "$@"

# What the xcb platform plugin of Qt 6 and vispy's OpenGL open at run time:
# the file looked for, and the Debian package that has it.
LIBRARIES="
libGL.so.1              libgl1
libEGL.so.1             libegl1
libOpenGL.so.0          libopengl0
libglib-2.0.so.0        libglib2.0-0
libfontconfig.so.1      libfontconfig1
libdbus-1.so.3          libdbus-1-3
libX11-xcb.so.1         libx11-xcb1
libxkbcommon.so.0       libxkbcommon0
libxkbcommon-x11.so.0   libxkbcommon-x11-0
libxcb-cursor.so.0      libxcb-cursor0
libxcb-icccm.so.4       libxcb-icccm4
libxcb-image.so.0       libxcb-image0
libxcb-keysyms.so.1     libxcb-keysyms1
libxcb-randr.so.0       libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0       libxcb-shape0
libxcb-util.so.1        libxcb-util1
libxcb-xfixes.so.0      libxcb-xfixes0
libxcb-xinerama.so.0    libxcb-xinerama0
libxcb-xkb.so.1         libxcb-xkb1
"

has_display() {
    [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]
}

# Debian packages that are missing, on one line.
missing_packages() {
    local ldconfig known file package
    ldconfig=$(PATH="$PATH:/usr/sbin:/sbin" command -v ldconfig || true)
    if [ -n "$ldconfig" ]; then
        known=$("$ldconfig" -p 2>/dev/null || true)
        # A system without a loader cache (musl, Nix) cannot be judged this way.
        if [ -n "$known" ]; then
            while read -r file package; do
                [ -n "$file" ] || continue
                grep -qF "$file " <<<"$known" || printf '%s ' "$package"
            done <<<"$LIBRARIES"
        fi
    fi
    if ! has_display; then
        command -v Xvfb >/dev/null || printf 'xvfb '
        # Mesa's software renderer is a file of its own, opened by name.
        if ! compgen -G '/usr/lib*/dri/*swrast_dri.so' >/dev/null &&
            ! compgen -G '/usr/lib/*/dri/*swrast_dri.so' >/dev/null; then
            command -v apt-get >/dev/null && printf 'libgl1-mesa-dri '
        fi
    fi
}

missing=$(missing_packages)
missing=${missing% }
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing what Qt needs without a screen: $missing" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq </dev/null >&2 ||
            echo "apt-get update failed; going on with the old lists" >&2
        # shellcheck disable=SC2086  # one word per package is meant
        if ! apt-get install -y -qq --no-install-recommends \
            -o DPkg::Lock::Timeout=300 $missing </dev/null >&2; then
            echo "Could not install: $missing; install it by hand and run again." >&2
            exit 1
        fi
    else
        echo "Qt needs system libraries: sudo apt-get install $missing (or your system's equivalents)" >&2
        exit 1
    fi
fi

if has_display; then
    exec "$@"
fi

# Xvfb picks a free display number itself and writes it to descriptor 3 once
# it is ready, so two runs at a time do not meet and nothing has to be guessed.
scratch=$(mktemp -d)
Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp \
    3>"$scratch/display" >"$scratch/log" 2>&1 </dev/null &
xvfb=$!
trap 'set +e; kill "$xvfb" 2>/dev/null; wait "$xvfb" 2>/dev/null; rm -rf "$scratch"' EXIT
for _ in $(seq 150); do
    [ -s "$scratch/display" ] && break
    kill -0 "$xvfb" 2>/dev/null || break
    sleep 0.1
done
if ! [ -s "$scratch/display" ]; then
    echo "Xvfb did not start: $(tail -n 1 "$scratch/log")" >&2
    exit 1
fi
DISPLAY=":$(tr -d '[:space:]' <"$scratch/display")"
export DISPLAY
export LIBGL_ALWAYS_SOFTWARE=1
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$scratch}"

status=0
"$@" || status=$?
exit "$status"
