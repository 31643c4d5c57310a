"""Every error that a user or an operator can see.

    BrokerError
    ├── NotSignedIn            401 not-signed-in
    │   └── WrongPassword      401 wrong-password
    ├── Forbidden              403 forbidden
    │   ├── LocalAccountsOff   403 local-accounts-off
    │   ├── PolicyForbids      403 policy-forbids
    │   ├── SignInRefused      403 sign-in-refused
    │   └── WrongOrigin        403 wrong-origin
    ├── NotFound               404 not-found
    ├── SignInBroken           400 sign-in-broken
    ├── LogoutRefused          400 logout-refused
    ├── InvalidRequest         422 invalid-request
    │   ├── UnknownEnvironment 422 unknown-environment
    │   ├── NothingFits        422 nothing-fits
    │   ├── WeakKey            422 weak-key
    │   └── LeaseTooLong       422 lease-too-long
    ├── BodyTooLarge           413 body-too-large
    ├── NoSpace                507 no-space
    ├── WrongState             409 wrong-state
    │   ├── AlreadyRunning     409 already-running
    │   ├── IdentityTaken      409 identity-taken
    │   ├── LastWayIn          409 last-way-in
    │   ├── NoRoomToReserve    409 no-room-to-reserve
    │   ├── NoSeat             409 no-seat
    │   ├── NotDecided         409 not-decided
    │   └── SessionNotReady    409 session-not-ready
    ├── OverQuota              429 over-quota
    ├── TooManyAttempts        429 too-many-attempts
    ├── TicketRefused          401 ticket-refused
    ├── NoVacantMachine        503 no-vacant-machine
    ├── CloudFault             502 cloud-fault
    │   ├── CloudRefused       502 cloud-refused
    │   ├── CloudSignInRefused 502 cloud-sign-in-refused
    │   ├── CloudBusy          503 cloud-busy
    │   ├── CloudFull          503 cloud-full
    │   └── CloudUnreachable   503 cloud-unreachable
    ├── MachineFault           502 machine-fault
    │   ├── MachineUnreachable 503 machine-unreachable
    │   ├── AgentRefused       502 agent-refused
    │   ├── ConfigurationFailed 502 configuration-failed
    │   └── ProbeFailed        502 probe-failed
    ├── ProviderFault          502 provider-fault
    │   └── ProviderUnreachable 503 provider-unreachable
    ├── ServiceDown            503 service-down
    └── BadSettings            500 bad-settings

An error carries what happened with which values (its message) and what to do (its hint). The web layer turns
it into problem+json or a page in one place; docs/errors.md explains each code.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

PROBLEM = "application/problem+json"


def phrase(status: int) -> str:
    """What the status means, in HTTP's own words."""
    return HTTPStatus(status).phrase


class BrokerError(Exception):
    """The base: `message` says what happened, `hint` what to do, `facts` go into the problem+json as they are."""

    status = 500
    code = "broker-error"

    def __init__(self, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def problem(self) -> dict[str, Any]:
        """The error as problem+json (RFC 9457) says it: its own facts beside the members that all have."""
        return {
            **self.facts,
            "type": f"/docs/errors#{self.code}",
            "title": phrase(self.status),
            "status": self.status,
            "detail": self.message,
            "hint": self.hint,
            "code": self.code,
        }


class NotSignedIn(BrokerError):
    """Raised when a request needs a person and carries no valid sign-in."""

    status, code = 401, "not-signed-in"


class WrongPassword(NotSignedIn):
    """Raised when name and password do not match an account."""

    code = "wrong-password"


class Forbidden(BrokerError):
    """Raised when the person is known but has no right to this."""

    status, code = 403, "forbidden"


class PolicyForbids(Forbidden):
    """Raised when this way into a desktop would carry what the policy does not allow there."""

    code = "policy-forbids"


class LocalAccountsOff(Forbidden):
    """Raised when somebody signs in by a password where people sign in with an OpenID provider only."""

    code = "local-accounts-off"


class SignInRefused(Forbidden):
    """Raised when an OpenID provider, or what it says of the person, does not let them in."""

    code = "sign-in-refused"


class SignInBroken(BrokerError):
    """Raised when a provider's answer belongs to no sign-in that this browser began, or to one that took too long."""

    status, code = 400, "sign-in-broken"


class LogoutRefused(BrokerError):
    """Raised when a logout token is forged, old, used already, or not for us; nobody was signed out."""

    status, code = 400, "logout-refused"


class WrongOrigin(Forbidden):
    """Raised when a request that changes something comes from another site's page."""

    code = "wrong-origin"


class NotFound(BrokerError):
    """Raised when nothing of that name exists, or the person may not know that it does."""

    status, code = 404, "not-found"


class InvalidRequest(BrokerError):
    """Raised when what was asked cannot be understood or is out of range."""

    status, code = 422, "invalid-request"


class UnknownEnvironment(InvalidRequest):
    """Raised when the environment does not exist or is not offered to this person."""

    code = "unknown-environment"


class NothingFits(InvalidRequest):
    """Raised when no pool could ever serve the wish; the message says which rule each pool fails."""

    code = "nothing-fits"


class WeakKey(InvalidRequest):
    """Raised when an SSH key is too weak to be trusted."""

    code = "weak-key"


class LeaseTooLong(InvalidRequest):
    """Raised when an extension would go beyond the longest lease."""

    code = "lease-too-long"


class BodyTooLarge(BrokerError):
    """Raised when a request's body is larger than any request of ours needs."""

    status, code = 413, "body-too-large"


class NoSpace(BrokerError):
    """Raised when a home has no room for a file; nothing of it is kept."""

    status, code = 507, "no-space"


class WrongState(BrokerError):
    """Raised when a thing is not in the state that the action needs; nothing was changed."""

    status, code = 409, "wrong-state"


class AlreadyRunning(WrongState):
    """Raised when the person has a session of this environment already; `session` names it."""

    code = "already-running"


class IdentityTaken(WrongState):
    """Raised when somebody adds an identity that belongs to another account already."""

    code = "identity-taken"


class SessionNotReady(WrongState):
    """Raised when a session has no desktop to connect to."""

    code = "session-not-ready"


class LastWayIn(WrongState):
    """Raised when somebody would remove the only identity by which they can sign in."""

    code = "last-way-in"


class NoRoomToReserve(WrongState):
    """Raised when the pools cannot hold so many reserved machines; `possible` says how many they could."""

    code = "no-room-to-reserve"


class NoSeat(WrongState):
    """Raised when a reservation or course has no seat for this person now."""

    code = "no-seat"


class NotDecided(WrongState):
    """Raised when a program asks for its token and nobody has confirmed its code in a browser yet."""

    code = "not-decided"


class OverQuota(BrokerError):
    """Raised when the person, the group or the environment has as much as its quota allows; `quota` names it."""

    status, code = 429, "over-quota"


class TooManyAttempts(BrokerError):
    """Raised when somebody tries too often in too short a time; `retry_after` is in seconds."""

    status, code = 429, "too-many-attempts"


class TicketRefused(BrokerError):
    """Raised when a connection's ticket is unknown, used, expired, or its session is not ready."""

    status, code = 401, "ticket-refused"


class NoVacantMachine(BrokerError):
    """Raised when a wish that cannot wait finds no vacant machine; nothing was changed."""

    status, code = 503, "no-vacant-machine"


class CloudFault(BrokerError):
    """Raised when a cloud did not do what it was asked.

    `transient` says that it is the cloud's own trouble and not this request's: the same request is made again later.
    """

    status, code = 502, "cloud-fault"
    transient = True


class CloudRefused(CloudFault):
    """Raised when a cloud understood the request and said no."""

    code = "cloud-refused"
    transient = False


class CloudSignInRefused(CloudFault):
    """Raised when a cloud does not know our credentials, or knows them no more."""

    code = "cloud-sign-in-refused"


class CloudBusy(CloudFault):
    """Raised when a cloud wants fewer requests; `retry_after`, in seconds, is when it wants the next one."""

    status, code = 503, "cloud-busy"


class CloudFull(CloudFault):
    """Raised when a cloud has no room for another machine."""

    status, code = 503, "cloud-full"
    transient = False


class CloudUnreachable(CloudFault):
    """Raised when a cloud does not answer in time."""

    status, code = 503, "cloud-unreachable"


class MachineFault(BrokerError):
    """Raised when a machine did not do what it was asked."""

    status, code = 502, "machine-fault"


class MachineUnreachable(MachineFault):
    """Raised when a machine does not answer over SSH in time."""

    status, code = 503, "machine-unreachable"


class AgentRefused(MachineFault):
    """Raised when the machine's agent says no; `reason` is its code."""

    code = "agent-refused"


class ConfigurationFailed(MachineFault):
    """Raised when Ansible could not configure a machine; the message names the task."""

    code = "configuration-failed"


class ProbeFailed(MachineFault):
    """Raised when a machine would not show its user a working desktop; `evidence` is a picture's path or None."""

    code = "probe-failed"


class ProviderFault(BrokerError):
    """Raised when an OpenID provider answers what cannot be trusted or understood."""

    status, code = 502, "provider-fault"


class ProviderUnreachable(ProviderFault):
    """Raised when an OpenID provider does not answer in time."""

    status, code = 503, "provider-unreachable"


class ServiceDown(BrokerError):
    """Raised when a part of Beamdesk that the request needs is not running."""

    status, code = 503, "service-down"


class BadSettings(BrokerError):
    """Raised when the settings cannot be used; the message names each key, its value and what is allowed."""

    code = "bad-settings"
