#!/usr/bin/env bash
# The window's tests want a virtual display and Mesa's software renderer. Installed where they are missing and it may be done;
# otherwise said, and those tests skip with the reason.
set -u
if command -v Xvfb >/dev/null && ldconfig -p | grep -q libEGL.so.1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >/dev/null 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        xvfb xauth libegl1 libgl1 libgl1-mesa-dri libglx-mesa0 libxrandr2 libxinerama1 libxcursor1 libxi6 >/dev/null 2>&1 && exit 0
fi
echo "note: Xvfb or EGL is missing (Debian: xvfb libegl1 libgl1-mesa-dri); the window's tests will skip" >&2
exit 0
