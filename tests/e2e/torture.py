"""Messages in the spirit of RFC 4475 ("SIP Torture Test Messages"): odd but valid ones, and broken ones.

``torture(peer, number)`` gives (name, message, statuses): what a good answer is; empty where none has to come.
"""

from collections.abc import Iterator

from rawpeer import RawPeer, description

ANY = frozenset(range(200, 700))
REFUSED = frozenset(range(400, 700))


def base(peer: RawPeer, name: str, method: str = "INVITE", **changes: str) -> str:
    """A good request, with header lines replaced by name (``Call_ID``), added, or left out (empty)."""
    content = changes.pop("content", description() if method == "INVITE" else "")
    uri = changes.pop("uri", f"sip:or-3@{peer.gateway_at}")
    lines = {
        "Via": f"SIP/2.0/UDP {peer.at};branch=z9hG4bK{name};rport",
        "Max-Forwards": "70",
        "From": f"<sip:{peer.user}@{peer.at}>;tag={name}",
        "To": f"<{uri}>",
        "Call-ID": f"{name}@torture",
        "CSeq": f"1 {method}",
        "Contact": f"<sip:{peer.user}@{peer.at}>",
    }
    if content:
        lines["Content-Type"] = "application/sdp"
    lines["Content-Length"] = str(len(content.encode()))
    start = changes.pop("start", f"{method} {uri} SIP/2.0")
    for key, value in changes.items():
        lines[key.replace("_", "-")] = value
    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items() if value)
    return f"{start}\r\n{head}\r\n{content}"


def torture(peer: RawPeer) -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Every message once; OPTIONS where nothing has to be rung for."""
    yield from ((name, text.encode("latin-1"), wanted) for name, text, wanted in _odd(peer))
    yield from ((name, text.encode("latin-1"), wanted) for name, text, wanted in _broken(peer))
    yield "binary", bytes(range(256)) * 4, frozenset()
    yield "nulls", b"\x00" * 500, frozenset()
    yield "utf8", base(peer, "utf8", "OPTIONS", Subject="\xff\xfe").encode("latin-1"), ANY
    yield "enormous", base(peer, "enormous", "OPTIONS", X_Big="x" * 40_000).encode(), frozenset()


def _odd(peer: RawPeer) -> Iterator[tuple[str, str, frozenset[int]]]:
    """RFC 4475 3.1.1: valid messages."""
    ok = frozenset({200})
    folded = base(peer, "wsinv", "OPTIONS").replace("Max-Forwards: 70", "MaX-fOrWaRdS  :\r\n 0068")
    yield "wsinv", folded, ANY
    yield "compact", base(peer, "compact", "OPTIONS").replace("Call-ID:", "i:").replace("From:", "f:"), ok
    yield "intmeth", base(peer, "intmeth", "!interesting-Method0123456789_*+`.%indeed'~"), REFUSED
    yield "esc01", base(peer, "esc01", "OPTIONS", uri=f"sip:sips%3Auser%40example.com@{peer.gateway_at}"), ANY
    yield "escnull", base(peer, "escnull", "OPTIONS", From=f"<sip:null-%00-null@{peer.at}>;tag=1"), ANY
    yield "esc02", base(peer, "esc02", "RE%47IST%45R"), REFUSED
    yield "lwsdisp", base(peer, "lwsdisp", "OPTIONS", From=f"caller<sip:or3@{peer.at}>;tag=lws"), ANY
    yield "longreq", base(peer, "longreq", "OPTIONS", To=f'"{"long " * 400}" <sip:or-3@{peer.gateway_at}>'), ANY
    yield "dblreq", base(peer, "dblreq", "OPTIONS") + base(peer, "dblreq2", "OPTIONS"), ANY
    yield "semiuri", base(peer, "semiuri", "OPTIONS", uri=f"sip:user;par=u%40example.net@{peer.gateway_at}"), ANY
    yield (
        "transports",
        base(peer, "transports", "OPTIONS").replace(
            "Max-Forwards", f"Via: SIP/2.0/UNKNOWN {peer.at};branch=z9hG4bKu\r\nMax-Forwards"
        ),
        ANY,
    )
    yield "mpart01", base(peer, "mpart01", "OPTIONS", Content_Type="multipart/mixed;boundary=7a9", content="--7a9"), ANY


def _broken(peer: RawPeer) -> Iterator[tuple[str, str, frozenset[int]]]:
    """RFC 4475 3.1.2 and 3.3: what may be answered with an error, or dropped."""
    at = peer.at
    yield "badinv01", base(peer, "badinv01", Contact="<sip:joe@x.org>;;;;", To="sip:x@y;tag=;;;"), frozenset()
    yield "clerr", base(peer, "clerr").replace("Content-Length: ", "Content-Length: 9"), frozenset()
    yield "ncl", base(peer, "ncl", "OPTIONS", Content_Length="-999"), frozenset()
    yield "scalar02", base(peer, "scalar02", "REGISTER", CSeq="36893488147419103232 REGISTER"), frozenset()
    yield "maxfwd", base(peer, "maxfwd", "OPTIONS", Max_Forwards="300"), frozenset()
    yield (
        "scalarlg",
        f"SIP/2.0 503 Busy\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKx\r\nRetry-After: 1e99\r\n\r\n",
        frozenset(),
    )
    yield "quotbal", base(peer, "quotbal", To='"Mr. J. User <sip:j.user@example.com>'), frozenset()
    yield "ltgtruri", base(peer, "ltgtruri", start="INVITE <sip:or-3@127.0.0.1> SIP/2.0"), frozenset()
    yield "lwsruri", base(peer, "lwsruri", start="INVITE sip:or-3@127.0.0.1; lr SIP/2.0"), frozenset()
    yield "lwsstart", base(peer, "lwsstart", start="INVITE  sip:or-3@127.0.0.1  SIP/2.0"), frozenset()
    yield "trws", base(peer, "trws", "OPTIONS", start="OPTIONS sip:or-3@127.0.0.1 SIP/2.0  "), frozenset()
    yield "escruri", base(peer, "escruri", uri="sip:or-3@127.0.0.1?Route=%3Csip:a.b%3E"), frozenset()
    yield "baddate", base(peer, "baddate", "OPTIONS", Date="Fri, 01 Jan 2010 16:00:00 EST"), frozenset()
    yield "regbadct", base(peer, "regbadct", "REGISTER", Contact="sip:user@example.com?Route=%3Csip:a%3E"), frozenset()
    yield "badaspec", base(peer, "badaspec", "OPTIONS", To='"W" <sip:a@b> "c" <sip:d@e>'), frozenset()
    yield "baddn", base(peer, "baddn", "OPTIONS", From=f"Bell, Alexander <sip:a@{at}>;tag=43"), frozenset()
    yield "badvers", base(peer, "badvers", "OPTIONS", start="OPTIONS sip:or-3@127.0.0.1 SIP/7.0"), frozenset()
    yield "mismatch01", base(peer, "mismatch01", "OPTIONS", CSeq="8 INVITE"), frozenset()
    yield "mismatch02", base(peer, "mismatch02", "NEWMETHOD", CSeq="8 INVITE"), frozenset()
    yield "bigcode", f"SIP/2.0 4294967301 better not\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKy\r\n\r\n", frozenset()
    yield "badbranch", base(peer, "badbranch", "OPTIONS", Via=f"SIP/2.0/UDP {at};branch=z9hG4bK"), frozenset()
    yield "insuf", "INVITE sip:or-3@127.0.0.1 SIP/2.0\r\nContent-Length: 0\r\n\r\n", frozenset()
    yield "unkscm", base(peer, "unkscm", "OPTIONS", uri="nobodyKnowsThisScheme:totallyopaquecontent"), frozenset()
    yield "novelsc", base(peer, "novelsc", "OPTIONS", uri="soap.beep://192.0.2.103:3002"), frozenset()
    yield "bext01", base(peer, "bext01", Require="nothingSupportsThis, nothingSupportsThisEither"), REFUSED
    yield "invut", base(peer, "invut", Content_Type="application/unknownformat", content="<audio>"), REFUSED
    yield (
        "regaut01",
        base(peer, "regaut01", "REGISTER", Authorization="NoOneKnowsThisScheme opaque-data=here"),
        frozenset(),
    )
    yield "multi01", base(peer, "multi01").replace("CSeq: 1", "CSeq: 5 INVITE\r\nCSeq: 1"), frozenset()
    yield (
        "mcl01",
        base(peer, "mcl01", "OPTIONS").replace("Content-Length: 0", "Content-Length: 13\r\nContent-Length: 0"),
        frozenset(),
    )
    yield (
        "bcast",
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKz\r\nCSeq: 1 INVITE\r\n\r\n",
        frozenset(),
    )
    yield "zeromf", base(peer, "zeromf", "OPTIONS", Max_Forwards="0"), ANY
    yield "cparam01", base(peer, "cparam01", "REGISTER", Contact="sip:+19725552222@gw1.example.net;unknownparam"), ANY
    yield "regescrt", base(peer, "regescrt", "REGISTER", Contact="<sip:user@example.com?Route=%3Csip:a%3E>"), ANY
    yield "sdp01", base(peer, "sdp01", Accept="text/nobodyKnowsThis", content="v=1\r\n"), frozenset()
    yield (
        "inv2543",
        base(peer, "inv2543", From=f"<sip:or3@{at}>", Max_Forwards="", Via=f"SIP/2.0/UDP {at}"),
        frozenset(),
    )
    yield "nodialog", base(peer, "nodialog", "BYE", To=f"<sip:or-3@{peer.gateway_at}>;tag=nobody"), frozenset()
    yield "headers", base(peer, "headers", "OPTIONS", Accept=",".join(["a/b"] * 2000)), frozenset()
    yield (
        "vias",
        base(peer, "vias", "OPTIONS").replace("Max-F", "Via: SIP/2.0/UDP a;branch=z9hG4bKq\r\n" * 150 + "Max-F"),
        frozenset(),
    )
    yield "colons", "::::::\r\n::\r\n\r\n", frozenset()
    yield "start", "INVITE\r\n\r\n", frozenset()
    yield "status", "SIP/2.0\r\n\r\n", frozenset()
