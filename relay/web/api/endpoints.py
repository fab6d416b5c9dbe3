"""Endpoints: create, list, change, test, rotate, enable, disable."""

from starlette.responses import Response

from relay.delivery import count_matching, replay
from relay.endpoints import EndpointPatch, spec
from relay.endpoints import admin as standing
from relay.errors import NotFound, ValidationFailed
from relay.model import DAY, AuditAction, DeliveryStatus, Endpoint, EventType, Instant
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.store.tables import audit, endpoint_statistics, endpoints, replays
from relay.store.tables.filters import DeliveryFilter
from relay.web.core import idempotency, path_params
from relay.web.core.idempotency import StoredResult
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import presenters
from relay.web.schemas.queries import EndpointsQuery
from relay.web.schemas.requests import (
    EndpointChange,
    EndpointRequest,
    EndpointTestRequest,
    ReplayRequest,
    RotateRequest,
)
from relay.web.schemas.responses import (
    AttemptCounts,
    AttemptResponse,
    EndpointList,
    EndpointResponse,
    PublicKeys,
    ReplayList,
    ReplayPreview,
    ReplayResponse,
)

_TAG = "endpoints"
MAX_REPLAYS = 50
"""Replays of an endpoint that a list shows."""


@api_route(
    "POST",
    "/v1/endpoints",
    scope="subscribe",
    tag=_TAG,
    answers={201: EndpointResponse, 200: EndpointResponse},
    refusals=(400, 409),
    headers=idempotency.OPENAPI_HEADER,
)
async def create_endpoint(call: RequestContext, body: EndpointRequest) -> Response:
    """Create a standing endpoint.

    It is notified of every job from now on. With `pull:` as its URL nothing is sent to it: its subscriber reads
    `GET /v1/events` with its name, signed with its secret. This is also the subscribe call of REST Hooks. The same
    request again gets 200 and the existing endpoint, without its secret. An endpoint that a key without the scope admin
    creates belongs to that key.
    """
    events = tuple(body.events) if body.events else None
    endpoint_spec = spec.EndpointSpec(
        _url(body),
        body.format,
        events,
        body.secret,
        body.headers,
        body.signing,
        body.template,
        body.quiet,
        body.digest,
        body.fallback,
        outside_only=not call.caller.is_admin,
    )
    rules = call.relay.rules_for(call.caller.is_admin)
    checked = spec.validate(endpoint_spec, rules, "url" if body.url else "hookUrl")

    def create(tx: Tx) -> StoredResult:
        endpoint, is_new = standing.create(tx, body.name, checked, call.now, _owner(call), call.actor)
        secret = _secret(endpoint) if is_new else {}
        answer = presenters.endpoint(endpoint, **secret).model_dump(mode="json", exclude_unset=True)
        return StoredResult(201 if is_new else 200, answer, f"/v1/endpoints/{endpoint.id}")

    return (await idempotency.run_idempotent(call, create)).response(call)


@api_route("GET", "/v1/endpoints", scope="read", tag=_TAG, answers={200: EndpointList}, refusals=(400,))
async def list_endpoints(call: RequestContext, query: EndpointsQuery) -> Response:
    """List endpoints.

    Newest first; standing ones, and those that registrations created.
    """

    def read(tx: Tx) -> EndpointList:
        rows, cursor = endpoints.page(tx, query.page, query.kind, query.name)
        return EndpointList(data=[_with_last_day(tx, row, call.now) for row in rows], next_cursor=cursor)

    return json_response(200, await call.relay.store.read(read))


@api_route("GET", "/v1/endpoints/{id}", scope="read", tag=_TAG, answers={200: EndpointResponse}, refusals=(404,))
async def get_endpoint(call: RequestContext, id: str) -> Response:
    """Show one endpoint."""
    return json_response(200, presenters.endpoint(await call.relay.store.read(lambda tx: _get(tx, id))))


@api_route(
    "PATCH", "/v1/endpoints/{id}", scope="admin", tag=_TAG, answers={200: EndpointResponse}, refusals=(400, 404, 409)
)
async def change_endpoint(call: RequestContext, body: EndpointChange, id: str) -> Response:
    """Change an endpoint.

    Omitted fields stay the same. A format that the URL chose is chosen again for another URL. Endpoints of the
    configuration are changed there.
    """
    patch = EndpointPatch(
        name=body.name,
        url=body.url,
        format=body.format,
        events=tuple(body.events) if body.events else None,
        headers=body.headers,
        template=body.template,
        quiet=body.quiet,
        digest=body.digest,
        fallback=body.fallback,
    )
    if patch == EndpointPatch():
        raise ValidationFailed("missing_field", f"say what to change: {', '.join(EndpointChange.model_fields)}")
    changed = await call.relay.store.write(
        lambda tx: standing.update(tx, _get(tx, id), patch, call.relay.rules, call.now, call.actor)
    )
    return json_response(200, presenters.endpoint(changed))


@api_route(
    "DELETE", "/v1/endpoints/{id}", scope="subscribe", tag=_TAG, answers={204: "It is removed."}, refusals=(404, 409)
)
async def remove_endpoint(call: RequestContext, id: str) -> Response:
    """Remove an endpoint.

    Its registrations are withdrawn, its pending deliveries cancelled. Also the unsubscribe call of REST Hooks.
    """
    endpoint_id = path_params.parse_id(id, "endpoint")
    await call.relay.store.read(lambda tx: _require_own(call, tx, endpoint_id))
    await standing.delete(call.relay.store, endpoint_id, call.now, actor=call.actor)
    return Response(status_code=204)


@api_route(
    "POST",
    "/v1/endpoints/{id}/test",
    scope="admin",
    tag=_TAG,
    answers={200: AttemptResponse},
    refusals=(400, 404, 409),
    body_may_be_empty=True,
)
async def test_endpoint(call: RequestContext, body: EndpointTestRequest, id: str) -> Response:
    """Send a sample event.

    Once and now, signed like any other, and marked as a test; the response is the attempt, successful or not. Only
    the audit log keeps it.
    """

    def begin(tx: Tx) -> Endpoint:
        endpoint = _get(tx, id)
        audit.add(tx, call.actor, AuditAction.ENDPOINT_TESTED, call.now, endpoint.id, endpoint.name)
        return endpoint

    endpoint = await call.relay.store.write(begin)
    type = body.event or EventType.COMPLETED
    attempt = await call.relay.send_test(endpoint, call.now, type, call.caller.name or None)
    return json_response(200, presenters.attempt(attempt, call.caller.is_admin))


@api_route(
    "POST",
    "/v1/endpoints/{id}/rotate-secret",
    scope="admin",
    tag=_TAG,
    answers={200: EndpointResponse},
    refusals=(400, 404, 409),
    body_may_be_empty=True,
)
async def rotate_secret(call: RequestContext, body: RotateRequest, id: str) -> Response:
    """Give an endpoint a new secret.

    Only this response shows it. The old secret signs too for 24 hours.
    """

    def rotate(tx: Tx) -> Endpoint:
        configured = call.relay.config.endpoints
        return standing.rotate(tx, _get(tx, id), body.secret, call.now, configured, body.signing, call.actor)

    rotated = await call.relay.store.write(rotate)
    return json_response(200, presenters.endpoint(rotated, **_secret(rotated), **_old_secret(rotated)))


@api_route(
    "POST", "/v1/endpoints/{id}/enable", scope="subscribe", tag=_TAG, answers={200: EndpointResponse}, refusals=(404,)
)
async def enable_endpoint(call: RequestContext, id: str) -> Response:
    """Enable a disabled endpoint.

    Its held deliveries are sent now.
    """
    endpoint_id = path_params.parse_id(id, "endpoint")
    await call.relay.store.read(lambda tx: _require_own(call, tx, endpoint_id))
    enabled, released = await call.relay.enable_endpoint(endpoint_id, call.now, call.actor)
    return json_response(200, presenters.endpoint(enabled, released=released))


@api_route(
    "POST", "/v1/endpoints/{id}/disable", scope="admin", tag=_TAG, answers={200: EndpointResponse}, refusals=(404, 409)
)
async def disable_endpoint(call: RequestContext, id: str) -> Response:
    """Disable an endpoint.

    Its deliveries are held until it is enabled again. A disabled endpoint keeps its time and reason.
    """
    disabled = await call.relay.disable_endpoint(path_params.parse_id(id, "endpoint"), call.now, call.actor)
    return json_response(200, presenters.endpoint(disabled))


@api_route(
    "POST",
    "/v1/endpoints/{id}/replay",
    scope="admin",
    tag=_TAG,
    answers={202: ReplayResponse, 200: ReplayPreview},
    refusals=(400, 404, 409),
)
async def replay_endpoint(call: RequestContext, body: ReplayRequest, id: str) -> Response:
    """Send again what was delivered to an endpoint.

    For a receiver that lost data: everything that it accepted from `since` on, oldest first. `dry_run` only counts it
    (200). New deliveries to the endpoint go first. Each keeps its webhook-id, so a receiver that keeps ids may ignore
    it; timestamp and signature are new, by today's secret. Each is one attempt, without effect on the endpoint's
    health; one that fails is `failed` and can be resent.
    """
    endpoint_id, until = path_params.parse_id(id, "endpoint"), call.now if body.until is None else body.until
    if not body.dry_run:
        started = await call.relay.replay_endpoint(endpoint_id, body.since, until, call.now, call.actor)
        return json_response(202, presenters.replay(started))
    await call.relay.store.read(lambda tx: _get(tx, endpoint_id))
    selected = DeliveryFilter(
        endpoint_id=endpoint_id, status=DeliveryStatus.DELIVERED, ended_since=body.since, ended_before=until - 1
    )
    count = await count_matching(call.relay.store, selected, sendable=True)
    return json_response(200, ReplayPreview(count=count))


@api_route("GET", "/v1/endpoints/{id}/replays", scope="read", tag=_TAG, answers={200: ReplayList}, refusals=(404,))
async def list_replays(call: RequestContext, id: str) -> Response:
    """List the replays of an endpoint, the newest 50 first."""

    def work(tx: Tx) -> ReplayList:
        endpoint = _get(tx, id)
        return ReplayList(data=[presenters.replay(row) for row in replays.of_endpoint(tx, endpoint.id, MAX_REPLAYS)])

    return json_response(200, await call.relay.store.read(work))


@api_route(
    "POST", "/v1/endpoints/{id}/stop-replay", scope="admin", tag=_TAG, answers={200: ReplayList}, refusals=(404,)
)
async def stop_replay(call: RequestContext, id: str) -> Response:
    """Stop the replay of an endpoint.

    The few deliveries that it has made due are still sent. Without a replay nothing happens.
    """

    def work(tx: Tx) -> ReplayList:
        endpoint = _get(tx, id)
        replay.stop(tx, endpoint.id, call.now, call.actor)
        return ReplayList(data=[presenters.replay(row) for row in replays.of_endpoint(tx, endpoint.id, MAX_REPLAYS)])

    return json_response(200, await call.relay.store.write(work))


@api_route("GET", "/v1/endpoints/{id}/public-keys", scope=None, tag=_TAG, answers={200: PublicKeys}, refusals=(404,))
async def list_public_keys(call: RequestContext, id: str) -> Response:
    """Return the public keys of an endpoint.

    Without an API key: they verify notifications of the endpoint and sign nothing. The newest first; during a rotation
    the old one too. The list is empty if the endpoint signs with a shared secret.
    """
    endpoint = await call.relay.store.read(lambda tx: _get(tx, id))
    valid = [secret.value for secret in endpoint.secrets if secret.until is None or call.now < secret.until]
    keys = [key for key in map(standard_webhooks.public_key_of, valid) if key is not None]
    return json_response(200, PublicKeys(public_keys=keys))


OPERATIONS = (
    create_endpoint,
    list_endpoints,
    get_endpoint,
    change_endpoint,
    remove_endpoint,
    test_endpoint,
    rotate_secret,
    enable_endpoint,
    disable_endpoint,
    replay_endpoint,
    list_replays,
    stop_replay,
    list_public_keys,
)


def _get(tx: Tx, id: str) -> Endpoint:
    return standing.get(tx, path_params.parse_id(id, "endpoint"))


def _with_last_day(tx: Tx, endpoint: Endpoint, now: Instant) -> EndpointResponse:
    attempts, succeeded = endpoint_statistics.count_attempts(tx, endpoint.id, now - DAY)
    return presenters.endpoint(endpoint, last_day=AttemptCounts(attempts=attempts, succeeded=succeeded))


def _owner(call: RequestContext) -> str | None:
    """Who an endpoint belongs to that the caller creates; None for an admin."""
    return None if call.caller.is_admin else call.caller.name


def _require_own(call: RequestContext, tx: Tx, id: str) -> None:
    """Raises NotFound for another's endpoint, as for one that is missing, unless the caller is an admin."""
    if standing.get(tx, id).owner != call.caller.name and not call.caller.is_admin:  # guard: own-endpoints
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")


def _url(body: EndpointRequest) -> str:
    if body.url is not None and body.hookUrl is not None:
        raise ValidationFailed("two_urls", "give url or hookUrl, not both; they mean the same", "hookUrl")
    url = body.url or body.hookUrl
    if url is None:
        raise ValidationFailed("missing_field", "url is missing; it is the https:// URL that is notified", "url")
    return url


def _secret(endpoint: Endpoint) -> dict[str, str]:
    """The secret, if the subscriber needs it to verify."""
    secret = standard_webhooks.secret_to_show(endpoint.secrets[0].value)
    return {"secret": secret} if secret else {}


def _old_secret(rotated: Endpoint) -> dict[str, Instant]:
    until = [secret.until for secret in rotated.secrets if secret.until is not None]
    return {"old_secret_until": max(until)} if until else {}
