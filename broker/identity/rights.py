"""What each role may do. Pure: the one table that API, pages, services and API tokens ask.

A right is the scope of an API token, too: a token may do what its rights say, and never more than its owner may.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person is to the service."""

    USER = "user"
    SUPPORT = "support"  # helps users: sees their sessions
    OPERATOR = "operator"  # keeps pools and clouds running
    ADMIN = "admin"
    SERVICE = "service"  # a program that launches for its own users; it cannot sign in


class Right(StrEnum):
    """One thing that somebody may do."""

    READ = "read"  # look at one's own sessions and courses, and at what one may launch
    LAUNCH = "launch"  # launch, extend, share and end one's own sessions; take a seat in a course
    CONNECT = "connect"  # open one's own desktops, by ticket or file, and those that are shared with one
    TEACH = "teach"  # make and run courses, for those who are teachers
    ACCOUNT = "account"  # see and end one's own sign-ins and tokens, and make tokens
    LOOK = "look"  # look at everybody's sessions, and at pools, machines and clouds
    JOIN = "join"  # ask to join somebody's session, to help
    BREAK_GLASS = "break-glass"  # join anybody's session without asking, for a reason that its owner reads
    OPERATE = "operate"  # steer pools, machines, clouds and reservations, and end anybody's session
    AUDIT = "audit"  # read the audit log
    ACT = "act"  # be given tokens of named users, to read, launch and connect for them


R = Right
OWN = frozenset({R.READ, R.LAUNCH, R.CONNECT, R.TEACH, R.ACCOUNT})
FOR_OTHERS = frozenset({R.READ, R.LAUNCH, R.CONNECT})  # at most what a program may do for a user

MAY: dict[Role, frozenset[Right]] = {
    Role.USER: OWN,
    Role.SUPPORT: OWN | {R.LOOK, R.JOIN},
    Role.OPERATOR: OWN | {R.LOOK, R.OPERATE},
    Role.ADMIN: OWN | {R.LOOK, R.JOIN, R.BREAK_GLASS, R.OPERATE, R.AUDIT},
    Role.SERVICE: frozenset({R.READ, R.ACT}),
}
