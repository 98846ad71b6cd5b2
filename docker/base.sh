#!/usr/bin/env bash
# Make a Debian base image without a registry, with debootstrap. Needs root, debootstrap and Docker.
#   docker/base.sh [TAG] [SUITE] [MIRROR]
# The image gets the certificates that this machine trusts, so that a build behind a proxy can reach its registry.
set -euo pipefail

tag=${1:-debian-base:bookworm}
suite=${2:-bookworm}
mirror=${3:-http://deb.debian.org/debian}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates "$suite" "$folder/root" "$mirror"
rm -rf "$folder"/root/var/cache/apt/archives/*.deb "$folder"/root/var/lib/apt/lists/*
if [[ -d /usr/local/share/ca-certificates ]]; then
    cp -r /usr/local/share/ca-certificates/. "$folder/root/usr/local/share/ca-certificates/"
fi
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/root/etc/ssl/certs/ca-certificates.crt"
tar --create --directory "$folder/root" . | docker import --change 'CMD ["/bin/bash"]' - "$tag"
