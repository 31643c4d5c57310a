"""[environments.NAME.policy] and [policies.NAME]: what the doors of a desktop may do."""

from __future__ import annotations

from broker.settings.section import Name, Section


class Policy(Section):
    """What a desktop's doors may do beside its picture, keys and pointer: the clipboard and files into it and out of
    it, printing on the viewer's printers, and sound."""

    clipboard_in: bool = True
    clipboard_out: bool = True
    files_in: bool = True
    files_out: bool = True
    printing: bool = True
    audio: bool = True


class PolicySettings(Policy):
    """The same for everybody who is in one of these groups or is one of these users; for all where neither is named."""

    name: Name
    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    def fits(self, user: str, groups: frozenset[str]) -> bool:
        """Whether it is for this user, who is in these groups."""
        return not (self.groups or self.users) or user in self.users or not groups.isdisjoint(self.groups)
