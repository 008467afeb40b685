# SPDX-License-Identifier: Apache-2.0
"""The bell: who is rung hears it, whoever else does not listen."""

from tablemgr.bell import Bell, ring


def test_who_does_not_listen_keeps_nobody_else_from_being_rung(instance: str) -> None:
    """Messages that nobody has received count against the socket that they were sent with."""
    deaf, listening = Bell(instance, (1, 1)), Bell(instance, (2, 2))
    try:
        for _ in range(20):
            ring(instance, (1, 1), ["x" * 200] * 250)
        ring(instance, (2, 2), ["t"])
        assert listening.heard() == {"t"}
    finally:
        deaf.close()
        listening.close()


def test_who_sends_many_names_makes_everything_be_looked_at(instance: str) -> None:
    """Anybody may send, so a message is worth one look at all tables at the most."""
    bell = Bell(instance, (1, 1))
    try:
        ring(instance, (1, 1), [str(number) for number in range(1000)])
        assert bell.heard() is None
    finally:
        bell.close()
