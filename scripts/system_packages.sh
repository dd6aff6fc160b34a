# Sourced by scripts/test: programs of the system that some tests drive. Who is root on a Debian gets them
# installed; elsewhere the tests that need a missing one are skipped and say so.

install_system_packages() {
    packages=()
    command -v chromium >/dev/null || packages+=(chromium fonts-dejavu-core)
    command -v exiftool >/dev/null || packages+=(libimage-exiftool-perl)
    command -v identify >/dev/null || packages+=(imagemagick)
    command -v tc >/dev/null || packages+=(iproute2)
    command -v vipsheader >/dev/null || packages+=(libvips-tools)
    command -v shellcheck >/dev/null || packages+=(shellcheck)
    if [ ${#packages[@]} -eq 0 ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        return
    fi
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${packages[@]}" >/dev/null ||
        echo "${packages[*]} could not be installed: tests that need them are skipped" >&2
}
