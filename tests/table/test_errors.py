# SPDX-License-Identifier: Apache-2.0
"""The exceptions: their bases, and what each status of the core becomes."""

import errno
import pickle

import pytest

import tablemgr as tm
from tablemgr import _ffi, errors
from tablemgr.errors import Status, raise_for

BASES = {
    "TableNotFoundError": LookupError,
    "TableExistsError": FileExistsError,
    "TableOwnedError": PermissionError,
    "NotOwnerError": PermissionError,
    "AccessError": PermissionError,
    "TableMismatchError": ValueError,
    "TableFullError": MemoryError,
    "TableClosedError": ValueError,
    "CorruptTableError": ValueError,
    "LockTimeoutError": TimeoutError,
    "ManagerUnavailableError": ConnectionError,
    "ManagerRunningError": FileExistsError,
    "BadMatchError": ValueError,
    "TableTypeError": TypeError,
}


@pytest.mark.parametrize("name", BASES)
def test_each_error_is_a_table_error_and_a_builtin(name: str) -> None:
    """As the contract says; exported, and picklable with its message."""
    kind = getattr(tm, name)
    assert issubclass(kind, tm.TableError)
    assert issubclass(kind, BASES[name])
    error = kind("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, "what happened")


def test_the_statuses_are_those_of_the_core() -> None:
    """The enum here and the one in the C header are the same."""
    core = _ffi.core_statuses()
    assert core.pop("STATUS_COUNT") == len(Status)
    assert core == {status.name: status.value for status in Status}


@pytest.mark.parametrize(
    "status", [status for status in Status if status is not Status.OK], ids=lambda status: status.name
)
def test_each_status_has_an_exception_that_names_table_and_verb(status: Status) -> None:
    """No status is without a meaning."""
    with pytest.raises(Exception, match="the_verb.*'the table'") as caught:
        raise_for(status, table="the table", doing="the_verb", why=" for a reason", errno=errno.EMFILE)
    assert "for a reason" in str(caught.value)
    assert not isinstance(caught.value, (SystemError, AssertionError))


def test_the_systems_refusals_keep_their_number() -> None:
    """OSError with its errno; a refused permission is an AccessError."""
    with pytest.raises(OSError, match="Too many open files") as caught:
        raise_for(Status.OS, table="t", doing="attach", errno=errno.EMFILE)
    assert caught.value.errno == errno.EMFILE
    with pytest.raises(tm.AccessError, match="mode"):
        raise_for(Status.OS, table="t", doing="attach", errno=errno.EACCES)


def test_every_error_class_is_exported() -> None:
    """The package has the whole tree."""
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.TableError)
    }
    assert classes == {"TableError", *BASES}
    assert classes <= set(tm.__all__)
