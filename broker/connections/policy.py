"""What a desktop's doors may do for one user: pure decisions, made anew for each connection.

Nothing of it is in a machine before somebody opens its desktop, so any warm machine fits any user.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import PolicyForbids
from broker.identity.models import User
from broker.settings import Policy, Settings

EVERYTHING = Policy()
NOTHING = Policy(**dict.fromkeys(Policy.model_fields, False))
WORDS = {
    "clipboard_in": "Pasting into this desktop is not allowed here.",
    "clipboard_out": "Copying out of this desktop is not allowed here.",
    "files_in": "Bringing files in is not allowed here.",
    "files_out": "Taking files out is not allowed here.",
    "printing": "Printing on your own printer is not allowed here.",
    "audio": "Sound is not allowed here.",
}


def strictest(policies: Iterable[Policy]) -> Policy:
    """What all of them allow."""
    found = list(policies)
    return Policy(**{name: all(getattr(one, name) for one in found) for name in Policy.model_fields})


def applying(settings: Settings, environment: str, user: str, groups: Iterable[str]) -> Policy:
    """What the environment and every policy that fits the user allow. Of an environment that has left the settings
    nobody knows what it allowed: nothing."""
    own = settings.environments.get(environment)
    if own is None:
        return NOTHING
    mine = frozenset(groups)
    return strictest([own.policy, *(one for one in settings.policies.values() if one.fits(user, mine))])


def of_all(settings: Settings, environment: str, users: Iterable[User]) -> Policy:
    """What may be done where all of these users have a part in it."""
    return strictest(applying(settings, environment, user.name, user.groups) for user in users)


def by_ssh(policy: Policy) -> bool:
    """Whether SSH is open, which carries files, and any port, both ways, and says of none what it is."""
    return policy.clipboard_in and policy.clipboard_out and policy.files_in and policy.files_out


def rdp_clipboard(policy: Policy) -> bool:
    """Whether RDP has a clipboard, which goes both ways there or not at all."""
    return policy.clipboard_in and policy.clipboard_out


def must_be_heard(policy: Policy, *, recorded: bool = False) -> None:
    """PolicyForbids where the desktop's sound is not for this listener. Of a window that is recorded, all is recorded
    or not shown, and sound is not."""
    if not policy.audio:
        raise PolicyForbids(WORDS["audio"], hint="The desktop goes on without it.", not_allowed=not_allowed(policy))
    if recorded:
        raise PolicyForbids("Support hears no sound: it could not be recorded.", hint="The desktop goes on without it.")


def not_allowed(policy: Policy) -> list[str]:
    """What it forbids, by name."""
    return [name for name in WORDS if not getattr(policy, name)]


def in_words(policy: Policy) -> list[str]:
    """The same, in sentences for the user."""
    return [WORDS[name] for name in not_allowed(policy)]
