"""Heads wait for bodies, and for nothing else."""

from unittest.mock import Mock

from service.server.held_head import HeldHead

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def written(transport: Mock) -> list[bytes]:
    return [call.args[0] for call in transport.write.call_args_list]


def test_the_head_leaves_with_the_first_piece_of_the_body() -> None:
    transport = Mock()
    held = HeldHead(transport)
    held.write(HEAD)
    assert not transport.write.called
    held.write(b"one")
    held.write(b"two")
    held.close()
    assert written(transport) == [HEAD + b"one", b"two"]
    transport.close.assert_called_once_with()


def test_a_body_of_nothing_is_a_body() -> None:
    transport = Mock()
    held = HeldHead(transport)
    held.write(HEAD)
    held.write(b"")
    assert written(transport) == [HEAD]


def test_an_interim_answer_is_not_held() -> None:
    transport = Mock()
    held = HeldHead(transport)
    held.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert written(transport) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    held.write(HEAD)
    held.write(b"one")
    assert written(transport)[1:] == [HEAD + b"one"]


def test_an_answer_that_fails_after_its_head_has_had_a_head() -> None:
    transport = Mock(is_closing=Mock(return_value=True))
    held = HeldHead(transport)
    held.write(HEAD)
    held.close()
    assert written(transport) == [HEAD] and held.is_closing()
    transport.close.assert_called_once_with()


def test_closing_without_a_head_writes_nothing() -> None:
    transport = Mock()
    HeldHead(transport).close()
    assert not transport.write.called
