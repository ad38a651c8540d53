"""One suite for both libraries: what a connection does must not depend on who makes it."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from gapless.errors import ConfigError
from streamer.transport import ConnectFailed, Ended, Transport, TransportSettings, Wire, transport_of
from tests.fixtures.certificates import self_signed
from tests.streamer.transport.peer import (
    BINARY,
    CLOSE,
    MORE,
    PING,
    PONG,
    Side,
    closing,
    frame,
    listening,
    proxying,
)

pytestmark = pytest.mark.timeout(30)
PATIENCE_S = 10.0


@pytest.fixture(params=["picows", "websockets"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transport(library: str) -> Transport:
    return transport_of(TransportSettings(library=library, max_message_bytes=100_000))


class Heard:
    """A receiver that notes everything; `until` waits for the n-th message."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.stamps: list[int] = []
        self.ended: list[Ended] = []
        self._news = asyncio.Event()

    def on_message(self, payload: bytes, received_ns: int) -> None:
        self.messages.append(payload)
        self.stamps.append(received_ns)
        self._news.set()

    def on_ended(self, ended: Ended) -> None:
        self.ended.append(ended)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()


async def ended(wire: Wire) -> Ended:
    async with asyncio.timeout(PATIENCE_S):
        return await wire.run()


async def opened(transport: Transport, url: str, heard: Heard, **options: str) -> Wire:
    return await transport.connect(url, heard, proxy=options.get("proxy"), timeout_s=PATIENCE_S)


async def test_text_and_binary_messages_arrive_whole_and_stamped(transport: Transport) -> None:
    async def script(side: Side) -> None:
        await side.send(frame(b'{"a":1}'), frame(b"\x00\xff", BINARY), frame(b"x" * 70_000))
        await side.answer_close()

    heard, before = Heard(), time.time_ns()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await heard.until(3)
        assert [len(message) for message in heard.messages] == [7, 2, 70_000]
        assert all(type(message) is bytes for message in heard.messages)
        assert all(before <= stamp <= time.time_ns() for stamp in heard.stamps)
        await wire.close(PATIENCE_S)
        assert (await ended(wire)).clean


async def test_messages_of_one_read_share_its_stamp(transport: Transport) -> None:
    async def script(side: Side) -> None:
        await side.send(b"".join(frame(b"%d" % n) for n in range(20)))
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await heard.until(20)
        assert len(set(heard.stamps)) <= 2  # the handshake's read may hold the first of them
        await wire.close(PATIENCE_S)
        await ended(wire)


async def test_compression_is_never_asked_for(transport: Transport) -> None:
    heard = Heard()
    async with listening(Side.answer_close) as peer:
        wire = await opened(transport, peer.url, heard)
        await wire.close(PATIENCE_S)
        await ended(wire)
        assert b"sec-websocket-extensions" not in peer.requests[0].lower()
        assert b"GET /stream?streams=btcusdt@aggTrade HTTP/1.1" in peer.requests[0]


async def test_pings_are_answered_with_their_payload_and_counted(transport: Transport) -> None:
    answers: list[tuple[int, bytes]] = []
    done = asyncio.Event()

    async def script(side: Side) -> None:
        for payload in (b"1700000000000", b""):
            await side.send(frame(payload, PING))
            answers.append(await side.next_frame())
        done.set()
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        assert answers == [(PONG, b"1700000000000"), (PONG, b"")]
        assert wire.controls == 2
        await wire.close(PATIENCE_S)
        await ended(wire)


async def test_own_pings_show_whether_the_peer_lives(transport: Transport) -> None:
    async def script(side: Side) -> None:
        opcode, payload = await side.next_frame()
        assert opcode == PING
        await side.send(frame(payload, PONG), frame(b"after"))
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await wire.ping()
        await heard.until(1)
        assert wire.controls == 1
        await wire.close(PATIENCE_S)
        await ended(wire)


async def test_fragments_are_joined_with_pings_between_them(transport: Transport) -> None:
    async def script(side: Side) -> None:
        await side.send(frame(b"one ", fin=False), frame(b"", PING), frame(b"two ", MORE, fin=False))
        await side.send(frame(b"three", MORE), frame(b"next"))
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await heard.until(2)
        assert heard.messages == [b"one two three", b"next"]
        await wire.close(PATIENCE_S)
        await ended(wire)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame(b"x" * 100_001)], id="one frame"),
        pytest.param([frame(b"x" * 60_000, fin=False), frame(b"x" * 60_000, MORE)], id="two frames"),
    ],
)
async def test_longer_messages_than_allowed_end_the_connection(transport: Transport, frames: list[bytes]) -> None:
    async def script(side: Side) -> None:
        await side.send(*frames)
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        end = await ended(wire)
        assert end.error is not None
        assert not end.receiver_failed
        assert heard.messages == []
        assert heard.ended == [end]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame(b"of nothing", MORE)], id="continuation of nothing"),
        pytest.param([frame(b"a", fin=False), frame(b"b")], id="message within a message"),
        pytest.param([b"\x83\x00"], id="unknown opcode"),
    ],
)
async def test_violations_of_the_protocol_end_the_connection_and_are_told(
    transport: Transport, frames: list[bytes]
) -> None:
    async def script(side: Side) -> None:
        await side.send(*frames)
        while await side.reader.read(1000):
            pass

    heard = Heard()
    async with listening(script) as peer:
        end = await ended(await opened(transport, peer.url, heard))
        assert end.error is not None
        assert not end.receiver_failed
        assert heard.messages == []


async def test_an_exception_of_the_receiver_is_seen_and_ends_the_connection(transport: Transport) -> None:
    class Fails(Heard):
        def on_message(self, payload: bytes, received_ns: int) -> None:
            super().on_message(payload, received_ns)
            raise KeyError("a bug")

    async def script(side: Side) -> None:
        await side.send(frame(b"first"), frame(b"second"), frame(b"third"))
        while await side.reader.read(1000):
            pass

    heard = Fails()
    async with listening(script) as peer:
        end = await ended(await opened(transport, peer.url, heard))
        assert isinstance(end.error, KeyError)
        assert end.receiver_failed
        assert heard.messages == [b"first"]  # nothing more of that batch


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going away"), (1008, "Too many requests"), (4000, "x")]
)
async def test_the_peers_close_is_told_and_what_it_sent_before_arrived(
    transport: Transport, code: int, reason: str
) -> None:
    async def script(side: Side) -> None:
        await side.send(frame(b"last"), closing(code, reason))
        assert (await side.next_frame())[0] == CLOSE

    heard = Heard()
    async with listening(script) as peer:
        end = await ended(await opened(transport, peer.url, heard))
        assert (end.code, end.reason, end.clean, end.error) == (code, reason, True, None)
        assert heard.messages == [b"last"]
        assert heard.ended == [end]


async def test_a_close_without_a_code(transport: Transport) -> None:
    async def script(side: Side) -> None:
        await side.send(frame(b"", CLOSE))
        await side.next_frame()

    async with listening(script) as peer:
        end = await ended(await opened(transport, peer.url, Heard()))
        assert (end.code, end.clean) == (1005, True)


async def test_a_cut_is_no_clean_end(transport: Transport) -> None:
    async def script(side: Side) -> None:
        await side.send(frame(b"last"))

    heard = Heard()
    async with listening(script) as peer:
        end = await ended(await opened(transport, peer.url, heard))
        assert (end.code, end.clean, end.receiver_failed) == (1006, False, False)
        assert heard.messages == [b"last"]


async def test_what_the_peer_sends_before_it_answers_our_close_is_received(transport: Transport) -> None:
    async def script(side: Side) -> None:
        opcode, payload = await side.next_frame()
        assert opcode == CLOSE
        await side.send(frame(b"was on its way"), frame(payload, CLOSE))

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        running = asyncio.create_task(wire.run())
        await wire.close(PATIENCE_S)
        end = await running
        assert end.clean
        assert heard.messages == [b"was on its way"]
        assert not wire.is_open


async def test_a_half_open_peer_is_dropped_when_closing_takes_too_long(transport: Transport) -> None:
    async def script(side: Side) -> None:
        while await side.reader.read(1000):
            pass  # reads on, says nothing

    async with listening(script) as peer:
        wire = await opened(transport, peer.url, Heard())
        before = time.monotonic()
        await wire.close(0.05)
        end = await ended(wire)
        assert time.monotonic() - before < 5
        assert (end.code, end.clean) == (1006, False)
        await wire.send("nobody hears")  # let go, not raised
        await wire.ping()


async def test_abort_ends_at_once(transport: Transport) -> None:
    async def script(side: Side) -> None:
        while await side.reader.read(1000):
            pass

    async with listening(script) as peer:
        wire = await opened(transport, peer.url, Heard())
        wire.abort()
        assert not (await ended(wire)).clean


async def test_texts_are_sent(transport: Transport) -> None:
    got: list[tuple[int, bytes]] = []

    async def script(side: Side) -> None:
        got.append(await side.next_frame())
        await side.send(frame(b'{"result":null,"id":1}'))
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await wire.send('{"method":"SUBSCRIBE","params":["币安usdt@depth"],"id":1}')
        await heard.until(1)
        assert got == [(1, '{"method":"SUBSCRIBE","params":["币安usdt@depth"],"id":1}'.encode())]
        await wire.close(PATIENCE_S)
        await ended(wire)


async def test_a_reader_that_pauses_makes_the_peer_wait_and_loses_nothing(transport: Transport) -> None:
    total, sent = 3_000, 0

    async def script(side: Side) -> None:
        nonlocal sent
        for number in range(total):
            await side.send(frame(b"%08d" % number + b"x" * 8_000))
            sent += 1
        await side.answer_close()

    heard = Heard()
    async with listening(script) as peer:
        wire = await opened(transport, peer.url, heard)
        await heard.until(1)
        wire.pause_reading()
        seen, last = len(heard.messages), -1
        async with asyncio.timeout(PATIENCE_S):
            while sent != last:  # until the buffers between are full
                last = sent
                await asyncio.sleep(0.05)
        assert sent < total
        assert len(heard.messages) <= seen + 1
        wire.resume_reading()
        await heard.until(total)
        assert [int(message[:8]) for message in heard.messages] == list(range(total))
        await wire.close(PATIENCE_S)
        await ended(wire)


@pytest.mark.parametrize("status", [429, 418, 403, 451, 503])
async def test_a_refused_handshake_says_the_status_and_when_to_come_back(transport: Transport, status: int) -> None:
    answer = f"HTTP/1.1 {status} No\r\nRetry-After: 37\r\nContent-Length: 11\r\n\r\nway too fast"[:-1]

    async def script(side: Side) -> None:
        raise AssertionError("there is no connection")

    async with listening(script, answer=answer.encode()) as peer:
        with pytest.raises(ConnectFailed, match=f"{status}.*way too") as failed:
            await opened(transport, peer.url, Heard())
    assert (failed.value.status, failed.value.retry_after_s) == (status, 37.0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="hangs up"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="speaks something else"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", id="no upgrade"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
            id="wrong proof",
        ),
    ],
)
async def test_a_peer_that_is_no_websocket_server_is_no_connection(transport: Transport, answer: bytes) -> None:
    async def script(side: Side) -> None:
        raise AssertionError("there is no connection")

    async with listening(script, answer=answer) as peer:
        with pytest.raises(ConnectFailed) as failed:
            await opened(transport, peer.url, Heard())
    assert failed.value.retry_after_s is None


async def test_nobody_listening_is_no_connection(transport: Transport) -> None:
    async with listening(Side.answer_close) as peer:
        pass
    with pytest.raises(ConnectFailed) as failed:
        await opened(transport, peer.url, Heard())
    assert failed.value.status is None


async def test_a_handshake_without_an_answer_is_bounded(transport: Transport) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
    with pytest.raises(ConnectFailed, match="within"):
        await transport.connect(url, Heard(), proxy=None, timeout_s=0.1)
    server.close()


async def test_a_cancelled_attempt_leaves_no_connection(transport: Transport) -> None:
    asked, gone, answer = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.close()
        gone.set()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
    heard = Heard()
    attempt = asyncio.create_task(transport.connect(url, heard, proxy=None, timeout_s=PATIENCE_S))
    await asked.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    answer.set()
    await gone.wait()
    server.close()
    assert heard.ended == []


async def test_connections_go_through_a_proxy(transport: Transport) -> None:
    heard = Heard()
    async with listening(Side.answer_close) as peer, proxying() as (proxy, seen):
        wire = await opened(transport, peer.url, heard, proxy=proxy)
        await wire.close(PATIENCE_S)
        await ended(wire)
        assert seen[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % peer.port)
        assert b"proxy-authorization" not in seen[0].lower()


async def test_a_proxys_login_is_given(transport: Transport) -> None:
    async with listening(Side.answer_close) as peer, proxying(login="desk:p@ss") as (proxy, _):
        with pytest.raises(ConnectFailed) as failed:
            await opened(transport, peer.url, Heard(), proxy=proxy)
        assert failed.value.status is None  # the proxy's refusal is not the exchange's
        wire = await opened(transport, peer.url, Heard(), proxy=proxy.replace("//", "//desk:p%40ss@"))
        await wire.close(PATIENCE_S)
        await ended(wire)


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_tls_is_verified_by_default(library: str, tmp_path: Path, through_proxy: bool) -> None:
    certificate, key = self_signed(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)

    async def script(side: Side) -> None:
        await side.send(frame(b"secret"))
        await side.answer_close()

    async with listening(script, tls=serving) as peer, proxying() as (proxy, _):
        by = {"proxy": proxy} if through_proxy else {}
        with pytest.raises(ConnectFailed, match=r"(?i)certificate"):
            await opened(transport_of(library), peer.url, Heard(), **by)
        heard = Heard()
        trusting = transport_of(library, tls=ssl.create_default_context(cafile=str(certificate)))
        wire = await opened(trusting, peer.url, heard, **by)
        await heard.until(1)
        await wire.close(PATIENCE_S)
        assert heard.messages == [b"secret"]
        await ended(wire)


def test_an_unknown_library_is_a_setting_to_put_right() -> None:
    with pytest.raises(ConfigError, match="picows, websockets"):
        transport_of("aiohttp")
