"""What the service takes for a whole request, and in which order requests get a thread."""

import pytest
from mission_control_service.incoming import LONGEST_HEAD, HeadTooLongError, Incoming
from mission_control_service.turns import Turns
from mission_control_service.worker import group_of

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


def taken(*pieces):
    """All requests that are whole after these pieces."""
    incoming = Incoming()
    found = []
    for piece in pieces:
        incoming.feed(piece)
        while request := incoming.take():
            found.append(request)
    return found


@pytest.mark.parametrize("request_text", [GET, POST, GET.replace(b"Host", b"content-type")])
def test_a_request_is_whole_with_its_last_byte_however_it_comes(request_text):
    assert taken(request_text) == [(request_text, False)]
    assert taken(*(request_text[at : at + 1] for at in range(len(request_text)))) == [(request_text, False)]
    assert taken(request_text[:-1]) == []


def test_what_follows_a_request_is_the_next_one():
    assert taken(GET + POST + GET[:10], GET[10:]) == [(GET, False), (POST, False), (GET, False)]


@pytest.mark.parametrize(
    "header",
    [
        b"Transfer-Encoding: chunked",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\n Content-Length: 4",
        b"Content-Length : 3",
        b"Content-Length: -3",
        b"Content-Length: 100000",
    ],
)
def test_a_body_without_a_plain_length_is_not_waited_for_and_ends_the_connection(header):
    text = b"POST / HTTP/1.1\r\n" + header + b"\r\n\r\nabc" + GET
    assert taken(text) == [(text, True)]


@pytest.mark.parametrize(
    "text", [b"GET /" + b"x" * LONGEST_HEAD, b"GET / HTTP/1.1\r\nX: " + b"x" * LONGEST_HEAD + b"\r\n\r\n"]
)
def test_headers_without_an_end_are_refused(text):
    with pytest.raises(HeadTooLongError):
        taken(text)


def test_who_asks_for_much_waits_behind_himself():
    turns = Turns()
    for number in range(3):
        turns.put("busy", f"busy {number}")
    turns.put("modest", "modest 0")
    assert [turns.get() for _ in range(4)] == ["busy 0", "modest 0", "busy 1", "busy 2"]


def test_an_ipv6_network_counts_as_one_and_a_mapped_address_as_what_it_stands_for():
    assert group_of(("2001:db8::1", 1, 0, 0)) == group_of(("2001:db8::ffff:1", 2, 0, 0))
    assert group_of(("2001:db8::1", 1, 0, 0)) != group_of(("2001:db8:0:1::1", 1, 0, 0))
    assert group_of(("::ffff:192.0.2.1", 1, 0, 0)) == group_of(("192.0.2.1", 1))
    assert group_of(("fe80::1%eth0", 1, 0, 2)) != group_of(("192.0.2.1", 1))
