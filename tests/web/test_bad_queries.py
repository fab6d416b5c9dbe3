"""Invalid queries and paths are refused with the parameter and what to write instead."""

import pytest

from tests.web.conftest import Api, assert_refused, shared

pytestmark = shared

BAD_QUERIES = [
    ("/v1/registrations?limit=0", "invalid_limit", "limit"),
    ("/v1/registrations?limit=201", "invalid_limit", "limit"),
    ("/v1/registrations?limit=-1", "invalid_limit", "limit"),
    ("/v1/registrations?limit=hunter2", "invalid_limit", "limit"),
    ("/v1/registrations?limit=", "invalid_limit", "limit"),
    ("/v1/registrations?limit=1.0", "invalid_limit", "limit"),
    ("/v1/registrations?limit=%D9%A1", "invalid_limit", "limit"),
    ("/v1/registrations?limit=1" + "0" * 5_000, "invalid_limit", "limit"),
    ("/v1/registrations?limit=5&limit=5", "repeated_parameter", "limit"),
    ("/v1/registrations?cursor=hunter2", "invalid_cursor", "cursor"),
    ("/v1/registrations?cursor=" + "A" * 500, "invalid_cursor", "cursor"),
    ("/v1/registrations?cursor=%00", "invalid_cursor", "cursor"),
    ("/v1/registrations?cursor=MTo=", "invalid_cursor", "cursor"),
    ("/v1/registrations?cursor=MTphOmI", "invalid_cursor", "cursor"),
    ("/v1/jobs?cursor=MTph", "invalid_cursor", "cursor"),
    ("/v1/registrations?status=hunter2", "invalid_field", "status"),
    ("/v1/registrations?job_id=..%2Fx", "invalid_job_id", "job_id"),
    ("/v1/registrations?endpoint=hunter2", "unknown_endpoint", "endpoint"),
    ("/v1/registrations?endpoint=%00", "invalid_field", "endpoint"),
    ("/v1/registrations?jobid=j1", "unknown_parameter", "jobid"),
    ("/v1/registrations?%FF=1", "unknown_parameter", None),
    ("/v1/jobs?state=done", "invalid_field", "state"),
    ("/v1/jobs?workspace=hunter2", "unknown_workspace", "workspace"),
    ("/v1/jobs/j1?workspace=hunter2", "unknown_workspace", "workspace"),
    ("/v1/jobs/j1?limit=5", "unknown_parameter", "limit"),
    ("/v1/jobs/a%20b", "invalid_job_id", "job_id"),
    ("/v1/jobs/" + "a" * 129, "invalid_job_id", "job_id"),
    ("/v1/jobs/%00", "invalid_job_id", "job_id"),
    ("/v1/jobs/j%C3%B6b", "invalid_job_id", "job_id"),
    ("/v1/jobs/j1%250A", "invalid_job_id", "job_id"),
    ("/v1/endpoints?kind=hunter2", "invalid_field", "kind"),
    ("/v1/deliveries?status=done", "invalid_field", "status"),
    ("/v1/deliveries?since=yesterday", "invalid_field", "since"),
    ("/v1/deliveries?since=2024-03-01", "invalid_field", "since"),
    ("/v1/deliveries?since=2024-03-01T10:00:00", "invalid_field", "since"),
    ("/v1/deliveries?until=2024-02-30T10:00:00Z", "invalid_field", "until"),
    ("/v1/deliveries?until=2024-03-01T10:00:00+02:00", "invalid_field", "until"),
    ("/v1/deliveries?since=9999-12-31T23:59:59-12:00", "invalid_field", "since"),
    ("/v1/deliveries/dlv_x?x=1", "unknown_parameter", "x"),
    ("/healthz?x=1", "unknown_parameter", "x"),
]


@pytest.mark.parametrize(("path", "code", "field"), BAD_QUERIES)
async def test_malformed_queries_are_refused(shared_api: Api, path: str, code: str, field: str | None) -> None:
    """Each wrong parameter is refused by its name."""
    assert_refused(await shared_api.http.get(path), 400, code, field)


@pytest.mark.asyncio(loop_scope="function")
async def test_malformed_queries_reach_no_database(any_api: Api) -> None:
    """What one database would choke on is refused before it, on the other too."""
    for path, code, field in BAD_QUERIES:
        assert_refused(await any_api.http.get(path), 400, code, field)


@pytest.mark.parametrize(
    "path", ["/v1/jobs/../../etc/passwd", "/v1/jobs/j1%2F..", "/v1/jobs/", "/v1/jobs//", "/V1/jobs", "/v1/nothing"]
)
async def test_malformed_paths_are_refused(shared_api: Api, path: str) -> None:
    """A path that is none is 404, never a redirect and never 500."""
    assert_refused(await shared_api.http.get(path), 404, "unknown_path")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/registrations", "GET, HEAD, POST"),
        ("POST", "/v1/registrations/reg_x", "DELETE, GET, HEAD"),
        ("DELETE", "/v1/jobs/j1", "GET, HEAD"),
        ("GET", "/v1/endpoints/ep_x/test", "POST"),
        ("OPTIONS", "/v1/endpoints/ep_x", "DELETE, GET, HEAD, PATCH"),
        ("TRACE", "/healthz", "GET, HEAD"),
    ],
)
async def test_wrong_methods_are_refused(shared_api: Api, method: str, path: str, allow: str) -> None:
    """405 names all the methods that the path takes."""
    answer = await shared_api.http.request(method, path)
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow
