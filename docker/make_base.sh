#!/usr/bin/env bash
# Makes a base image from this machine's Debian packages, for where no image registry can be
# reached: glibc, what it needs, and busybox for a shell. Needs neither root nor debootstrap.
#
#   docker/make_base.sh [TAG]      minispark-base:local where no TAG is given
#
# A base that is there is kept; remove it with `docker image rm` for a newer one. Being of this
# machine's release, its glibc is one that a binary built here runs on.
set -euo pipefail

tag=${1:-minispark-base:local}
# base-files lays out the folders and comes first.
packages=(base-files base-passwd netbase libc6 libgcc-s1 busybox)

docker image inspect "$tag" >/dev/null 2>&1 && exit

for tool in apt-get dpkg-deb tar; do
  command -v "$tool" >/dev/null || {
    echo "error: $tool is missing; a base image is made on Debian and its kin" >&2
    exit 1
  }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Own lists: the system's may be missing or old, and are root's.
mkdir -p "$work"/{lists,cache/archives,packages}/partial "$work/root"
apt=(apt-get --quiet --quiet
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=$(id -un)")
echo "fetching ${packages[*]}"
"${apt[@]}" update
(cd "$work/packages" && "${apt[@]}" download "${packages[@]}")

root=$work/root
for package in "${packages[@]}"; do
  archive=("$work/packages/${package}"_*.deb)
  dpkg-deb --extract "${archive[0]}" "$root"
  # Where scanners look for what an image without dpkg holds.
  mkdir -p "$root/var/lib/dpkg/status.d"
  dpkg-deb --field "${archive[0]}" >"$root/var/lib/dpkg/status.d/$package"
done

# What the packages' scripts would do.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
for applet in $("$root/bin/busybox" --list); do
  [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
# For stores behind https: the bundle is made by a package's script, so this machine's is taken.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  mkdir -p "$root/etc/ssl/certs"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
# Documentation, and conversions between character sets, which nothing here asks for.
rm -rf "$root"/usr/share/{doc,info,man,locale,lintian,bug} "$root"/usr/lib/*/gconv

tar --create --sort=name --numeric-owner --owner=0 --group=0 --directory "$root" . |
  docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["/bin/sh"]' - "$tag" >/dev/null
echo "made $tag"
