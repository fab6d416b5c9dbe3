#!/bin/sh
# Verifies a published image: it can be pulled by tag and by digest without a login, prints its version, and is signed by
# the release's workflow, the index and each architecture.
# usage: verify-image.sh ghcr.io/OWNER/NAME 0.1.0 sha256:... OWNER/REPOSITORY      needs docker, cosign and jq
set -eu
image=$1 version=$2 digest=$3 repository=$4

docker pull --quiet "$image:$version"
docker pull --quiet "$image@$digest"
for name in "$image:$version" "$image@$digest"; do
  said=$(docker run --rm "$name" --version)
  case "$said" in
    *"$version"*) echo "$name says: $said" ;;
    *) echo "$name is not $version; it says: $said"; exit 1 ;;
  esac
done

listed=$(docker buildx imagetools inspect --raw "$image@$digest")
for architecture in amd64 arm64; do
  echo "$listed" | jq -e --arg architecture "$architecture" \
    'any(.manifests[]; .platform.os == "linux" and .platform.architecture == $architecture)' > /dev/null ||
    { echo "$image@$digest has no image for $architecture"; exit 1; }
done
for one in "$digest" $(echo "$listed" | jq -r '.manifests[] | select(.platform.os == "linux") | .digest'); do
  cosign verify "$image@$one" \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity "https://github.com/$repository/.github/workflows/release.yml@refs/tags/v$version" > /dev/null
  echo "$image@$one is signed by $repository"
done
