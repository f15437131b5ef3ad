"""A rollout takes whole tenants, the same ones everywhere, and only ever more of them."""

from harmost.core.policy.rollout import rolled_out

TENANTS = [f"acme/unit-{number % 40}/team-{number}" for number in range(4_000)]


def test_none_at_0_and_all_at_100_percent() -> None:
    assert not any(rolled_out("p", tenant, 0) for tenant in TENANTS)
    assert all(rolled_out("p", tenant, 100) for tenant in TENANTS)


def test_about_the_stated_percentage_is_in() -> None:
    for percent in (1, 10, 50, 90):
        share = sum(rolled_out("p", tenant, percent) for tenant in TENANTS) / len(TENANTS)
        assert abs(share - percent / 100) < 0.03


def test_who_is_in_stays_in_as_the_percentage_rises() -> None:
    for tenant in TENANTS[:200]:
        answers = [rolled_out("p", tenant, percent) for percent in range(101)]
        assert answers == sorted(answers)


def test_it_is_the_same_in_every_process_and_version() -> None:
    known = [rolled_out("eu-personal-data", tenant, 50) for tenant in TENANTS[:16]]
    assert known == [bool(int(bit)) for bit in KNOWN]


def test_another_policy_takes_other_tenants() -> None:
    one = [rolled_out("p", tenant, 50) for tenant in TENANTS]
    assert one != [rolled_out("q", tenant, 50) for tenant in TENANTS]


# Of the first 16 tenants; a change would move tenants in and out of rules that run.
KNOWN = "1000100001001011"
