"""The private words of this code, what to say instead, and where a word is the field's own."""

from typing import NamedTuple


class Rule(NamedTuple):
    """A private word.

    Attributes:
        word: in lower case; with a capital where it is private only as the name of a class.
        say: the field's word.
        own: where the word stays: a pattern of an identifier or of a path, and the reason.
    """

    word: str
    say: str
    own: tuple[tuple[str, str], ...] = ()


RULES = (
    Rule("handover", "queues"),
    Rule("lot", "index batch"),
    Rule("lots", "index batches"),
    Rule("Take", "GatherOp"),
    Rule("bring", "prefetch, page in"),
    Rule("bringer", "page-in"),
    Rule("coldness", "cold reads"),
    Rule("residence", "chunk source"),
    Rule("Resident", "chunk source"),
    Rule("Wanted", "LoadRequest"),
    Rule("dealing", "interleave"),
    Rule("Steps", "BaseOrder"),
    Rule("bijection", "permutation"),
    Rule(
        "room",
        "capacity, free space, budget",
        (("room_bytes", "a key of what datafeed warm --json prints"),),
    ),
    Rule("rooms", "capacities, buffers"),
    Rule("Place", "position, offset"),
    Rule("Places", "positions, addresses"),
    Rule("stretch", "byte range, step span, CRC span, segment span"),
    Rule(
        "Run",
        "iovec cursor, extent",
        (
            ("datafeed/staging/*", "a staging run"),
            ("trainers/*", "a training run"),
            ("datafeed/doctor/training.py", "a training run"),
            ("RunProgress", "progress of a staging run"),
        ),
    ),
    Rule(
        "Window",
        "sliding buffer",
        (
            ("datafeed/cache/window/*", "an MPI shared window"),
            ("*Window", "classes of MPI shared windows: NodeWindow, ClusterWindow"),
            ("Window[A-Z]*", "parts of MPI shared windows"),
        ),
    ),
    Rule("wire", "transport, protobuf, allreduce route"),
    Rule("wires", "routes"),
    Rule(
        "pace",
        "load shedding",
        (("datafeed/loading/telemetry/prometheus.py", "the pace of a training"),),
    ),
    Rule("leavable", "shedding tier"),
    Rule("era", "generation"),
    Rule("had", "seen"),
    Rule("Checked", "VerifiedChunks"),
    Rule("junk", "discard buffer"),
    Rule("gravest", "worst"),
    Rule("hopeless", "unreachable"),
    Rule("lacking", "missing"),
    Rule("lacks", "shortfalls"),
    Rule("tails", "trailers"),
    Rule("caution", "conservative mode"),
    Rule("converse", "request pipelined"),
    Rule("exchange", "pipeline"),
    Rule("Hand", "WorkerProcess"),
    Rule("servant", "MPI worker"),
    Rule("mail", "messages"),
    Rule("letter", "message"),
    Rule("desk", "coordinator, roll-call server"),
    Rule("ledger", "scheduler"),
    Rule("twins", "speculative attempts"),
    Rule("asked", "request, options"),
    Rule("notes", "markers"),
    Rule("growth", "append, extension"),
    Rule("grown", "extended"),
    Rule("standing", "existing"),
    Rule("Held", "chunk buffer"),
    Rule("mixing", "hashing"),
    Rule("choosing", "filters"),
    Rule("starvation", "data stall"),
    Rule("beginnings", "resume points"),
    Rule("patience", "DataNode timeouts"),
    Rule("narrow", "half precision"),
    Rule("Turn", "pass closure"),
    Rule("Hold", "model takeover"),
    Rule("say", "log, print"),
    Rule("told", "reported"),
    Rule("settle", "flush, finalize"),
    Rule("settled", "inferred, decided"),
    Rule("anew", "again"),
    Rule("takes", "gathers"),
    Rule("behind", "next tier", (("_behind_a_byte", "positions of bits, not of tiers"),)),
    Rule("early", "prefetch"),
    Rule("choice", "subset, filter, action"),
    Rule("choices", "actions"),
    Rule("joined", "concat", (("joined_crc", "checksums are joined"),)),
    Rule("fitted", "cast"),
    Rule("look", "poll, check", (("_look_up", "names of hosts are looked up"),)),
    Rule("tell", "report", (("tell", "the protocol of Python's files"),)),
    Rule("turn", "pass closure", (("in_turn", "one after another"),)),
)

# How often a word still stands; these numbers only fall.
REMAINING = {"choice": 22, "choices": 1, "settled": 12, "anew": 4, "turn": 6}
