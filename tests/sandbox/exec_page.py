"""The examples of Exec's pages 'Get Scenario job status', 'Create Scenario job' and 'Cancel Scenario job'."""

from typing import Any

QUEUED: dict[str, Any] = {
    "id": "j1o2b3i4d5x6",
    "status": "queued",
    "scenario": None,
    "error": None,
    "created_at": "2024-03-01T10:00:00Z",
    "started_at": None,
    "completed_at": None,
    "duration_seconds": None,
}
PROCESSING: dict[str, Any] = {**QUEUED, "status": "processing", "started_at": "2024-03-01T10:00:05Z"}
COMPLETED: dict[str, Any] = {
    **PROCESSING,
    "status": "completed",
    "scenario": {
        "id": "s1c2e3n4a5r6",
        "name": "Discovery Call with IT Director",
        "url": "https://acme-corp.app.exec.com/scenarios/discovery-call-it-director",
    },
    "completed_at": "2024-03-01T10:00:45Z",
    "duration_seconds": 40,
}
FAILED: dict[str, Any] = {
    **PROCESSING,
    "status": "failed",
    "error": {
        "code": "GENERATION_ERROR",
        "message": "Unable to generate scenario from the provided prompt",
    },
    "completed_at": "2024-03-01T10:00:30Z",
    "duration_seconds": 25,
}
CANCELLED: dict[str, Any] = {
    **PROCESSING,
    "status": "cancelled",
    "completed_at": "2024-03-01T10:00:10Z",
    "duration_seconds": 5,
}
UNAUTHORIZED = {
    "error": {
        "type": "authentication_error",
        "code": "invalid_api_key",
        "message": "Invalid or inactive API key",
    }
}
NOT_FOUND = {"error": {"type": "not_found", "message": "Scenario not found: abc123"}}

CREATE = {
    "user_email": "jane@acme.com",
    "prompt": "Create a discovery call scenario with a skeptical IT director",
    "context": "## Prospect Information\n- Company: TechCorp Inc.\n",
    "request_id": "salesforce-opp-12345",
}
NO_PROMPT = {"error": {"type": "invalid_request", "message": "prompt is required"}}
PROMPT_TOO_LONG = {
    "error": {
        "type": "invalid_request",
        "code": "prompt_too_long",
        "message": "prompt must be 10000 characters or fewer",
    }
}
USER_NOT_FOUND = {
    "error": {
        "type": "invalid_request",
        "code": "user_not_found",
        "message": "No user found with email: unknown@example.com",
    }
}
NO_SUCH_SLUG = {"error": {"type": "not_found", "message": "Scenario not found: Invalid Slug!"}}
NOT_CANCELLABLE = {
    "error": {
        "type": "invalid_request",
        "code": "job_not_cancellable",
        "message": "Cannot cancel job in 'completed' state",
    }
}
NO_JOB_TO_CANCEL = {
    "error": {
        "type": "not_found",
        "code": "job_not_found",
        "message": "Job not found: j1o2b3i4d5x6",
    }
}
