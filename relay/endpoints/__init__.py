"""Endpoints: `spec` validates the request for one, `admin` creates, changes and deletes standing endpoints."""

from relay.endpoints import admin, spec
from relay.endpoints.admin import EndpointPatch
from relay.endpoints.spec import EndpointSpec

__all__ = ["EndpointPatch", "EndpointSpec", "admin", "spec"]
