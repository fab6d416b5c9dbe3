"""The sandbox: a fake Exec and a verifying receiver, so that the relay runs without an Exec account."""

from relay.sandbox.exec_server import ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver, Respond

__all__ = ["ExecSettings", "FakeExec", "JobProfile", "Receiver", "Respond", "serve"]
