#!/bin/sh
# A vendor of packages in folder $1: its key, the key's fingerprint, and a signed repository with two versions
# each of the programs `tool` and `other`.
set -eu
root=$1 arch=$(dpkg --print-architecture)
index=dists/bookworm/main/binary-$arch
export GNUPGHOME="$root/gpg"
mkdir -p "$root/pool" "$root/$index"
mkdir -m 0700 "$GNUPGHOME"
cd "$root"

gpg --batch --pinentry-mode loopback --passphrase '' --quick-generate-key vendor@example.org ed25519 sign
gpg --armor --export >key.asc
gpg --with-colons --fingerprint | sed -n 's/^fpr:*\([0-9A-F]*\):$/\1/p' >fingerprint

for name in tool other; do
  for version in 1.0.0 2.0.0; do
    tree=$(mktemp -d)
    mkdir -p "$tree/DEBIAN" "$tree/usr/bin"
    printf '#!/bin/sh\necho %s %s\n' "$name" "$version" >"$tree/usr/bin/$name"
    chmod 0755 "$tree" "$tree/usr/bin/$name"
    cat >"$tree/DEBIAN/control" <<END
Package: $name
Version: $version-1
Architecture: $arch
Maintainer: Vendor <vendor@example.org>
Description: says its version
END
    deb=pool/${name}_$version-1_$arch.deb
    dpkg-deb --build --root-owner-group "$tree" "$deb"
    cat "$tree/DEBIAN/control" >>"$index/Packages"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' \
      "$deb" "$(stat -c %s "$deb")" "$(sha256sum <"$deb" | cut -d' ' -f1)" >>"$index/Packages"
    rm -r "$tree"
  done
done

cat >Release <<END
Origin: Vendor
Suite: bookworm
Codename: bookworm
Architectures: $arch
Components: main
Date: $(date --rfc-email --utc)
SHA256:
 $(sha256sum <"$index/Packages" | cut -d' ' -f1) $(stat -c %s "$index/Packages") main/binary-$arch/Packages
END
gpg --clearsign --output dists/bookworm/InRelease Release
