# The image as `make image` and a release build it. The Dockerfile names its base by tag, so that it can be built anywhere;
# here that name means one digest, which `make renew` renews, here and in compose.yaml.
variable "IMAGE" { default = "exec-relay" }
variable "TAGS" { default = "latest" } # separated by commas
variable "VERSION" { default = "" }
variable "SOURCE" { default = "" }

group "default" { targets = ["image"] }

target "image" {
  context = "."
  contexts = {
    "python:3.13-slim" = "docker-image://python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b"
  }
  tags = ["exec-relay"]
}

target "release" {
  inherits  = ["image"]
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=provenance,mode=max", "type=sbom"]
  tags      = [for tag in split(",", TAGS) : "${IMAGE}:${tag}"]
  labels = {
    "org.opencontainers.image.version" = VERSION
    "org.opencontainers.image.source"  = SOURCE
  }
}
