"""When one more attempt is refused."""

from __future__ import annotations

import pytest

from broker.identity.guessing import OF_ADDRESS, OF_NAME, OF_NAME_HERE, Failures, is_guessing, neighbourhood


def test_a_few_mistakes_are_forgiven() -> None:
    """Everybody has a bad morning."""
    assert not is_guessing(Failures(OF_NAME_HERE - 1, OF_ADDRESS - 1, OF_NAME - 1, known_here=False))


@pytest.mark.parametrize(
    "failures",
    [
        Failures(OF_NAME_HERE, OF_NAME_HERE, OF_NAME_HERE, known_here=True),
        Failures(0, OF_ADDRESS, 0, known_here=True),
        Failures(1, 1, OF_NAME, known_here=False),
    ],
)
def test_each_limit_holds_by_itself(failures: Failures) -> None:
    """A name from here, whatever from here, and a name from everywhere."""
    assert is_guessing(failures)


def test_strangers_cannot_lock_somebody_out_where_they_are_at_home() -> None:
    """However many there are."""
    assert not is_guessing(Failures(0, 0, 100 * OF_NAME, known_here=True))


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("no address" * 20, ("no address" * 20)[:64]),
    ],
)
def test_one_customers_ipv6_addresses_count_as_one(address: str, near: str) -> None:
    """There are 2^64 of them."""
    assert neighbourhood(address) == near
