import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Unsealable
from bridge.sealing import Sealer

NEW, OLD = "new-secret-key-0123456789", "old-secret-key-0123456789"
SEALER = Sealer([NEW])


@given(data=st.binary(max_size=3000), purpose=st.text(max_size=20))
def test_what_is_sealed_opens_again(data: bytes, purpose: str) -> None:
    assert SEALER.open(SEALER.seal(data, purpose=purpose), purpose=purpose) == data


def test_another_process_with_the_same_key_opens_it() -> None:
    assert Sealer([NEW]).open(SEALER.seal(b"x", purpose="vault"), purpose="vault") == b"x"


def test_sealing_twice_gives_different_bytes_that_show_nothing() -> None:
    first, second = SEALER.seal(b"secret" * 9, purpose="vault"), SEALER.seal(b"secret" * 9, purpose="vault")
    assert first != second
    assert b"secret" not in first


def test_after_a_rotation_old_values_open_and_new_ones_use_the_new_key() -> None:
    sealed = Sealer([OLD]).seal(b"x", purpose="vault")
    rotated = Sealer([NEW, OLD])
    assert rotated.open(sealed, purpose="vault") == b"x"
    assert Sealer([NEW]).open(rotated.seal(b"y", purpose="vault"), purpose="vault") == b"y"


def test_a_key_that_is_gone_is_named_as_the_reason() -> None:
    with pytest.raises(Unsealable, match="secret_keys"):
        Sealer([NEW]).open(Sealer([OLD]).seal(b"x", purpose="vault"), purpose="vault")


def test_a_value_opens_only_for_its_purpose() -> None:
    with pytest.raises(Unsealable, match="envelope"):
        SEALER.open(SEALER.seal(b"x", purpose="vault"), purpose="envelope")


@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    sealed = bytearray(SEALER.seal(b"hello", purpose="vault"))
    where = data.draw(st.integers(0, len(sealed) - 1))
    sealed[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unsealable):
        SEALER.open(bytes(sealed), purpose="vault")


@given(junk=st.binary(max_size=100))
def test_junk_is_refused_without_any_other_error(junk: bytes) -> None:
    with pytest.raises(Unsealable):
        SEALER.open(junk, purpose="vault")


def test_no_key_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Sealer([])
