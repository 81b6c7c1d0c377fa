"""A second, slow reading of recordings' bytes, written from the formats' descriptions alone: one word after the other.

Each takes a file's bytes and returns what it holds, or None where it must not be read.
"""

import re
import struct
from dataclasses import dataclass, field

EVT2_KINDS, EVT3_KINDS = {0, 1, 8, 10, 14, 15}, {0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15}


@dataclass
class Held:
    """Events (t on the file's clock, x, y, p) in the file's order, the sensor if said, and what must be noted."""

    events: list = field(default_factory=list)
    size: tuple[int, int] | None = None
    noted: set = field(default_factory=set)

    def add(self, t, x, y, p):
        if self.events and t < self.events[-1][0]:
            self.noted.add("times-sorted")
        self.events.append((t, x, y, bool(p)))

    def sorted(self):
        return sorted(self.events, key=lambda event: event[0])


class Counter:
    """A clock of few bits; see `spikeflip.data.formats.prophesee.Clock`."""

    def __init__(self, period):
        self.period, self.rounds, self.last = period, 0, None

    def on(self, value):
        step = 0 if self.last is None else value - self.last
        if step < -(self.period // 2):
            self.rounds += 1
        elif step > self.period - self.period // 1024:
            self.rounds = max(self.rounds - 1, 0)
        self.last = value
        return value + self.rounds * self.period


def text_header(data):
    """The keys and values of the lines at the front, and the rest."""
    lines = {}
    while data[:1] == b"%" and b"\n" in data:
        line, _, rest = data.partition(b"\n")
        line = line.removesuffix(b"\r")
        if not (line[1:2] == b" " or line[1:2].isalpha()) or any(c < 9 or 9 < c < 32 for c in line):
            break
        key, _, value = line[1:].decode("latin-1").strip().partition(" ")
        lines[key.lower()] = value.strip()
        data = rest
        if key.lower() == "end":
            break
    return lines, data


def header_facts(lines):
    held = Held()
    number = r"-?\d{1,19}"
    if found := re.fullmatch(r"(\d{1,5})x(\d{1,5})", lines.get("geometry", "")):
        held.size = int(found[1]), int(found[2])
    else:
        told = dict(part.split("=", 1) for part in lines.get("format", "").lower().split(";") if "=" in part)
        sides = [told.get(side) or lines.get(side) or "" for side in ("width", "height")]
        if all(re.fullmatch(number, side) for side in sides):
            held.size = int(sides[0]), int(sides[1])
    if held.size is None:
        held.noted.add("sensor-guessed")
    zero = lines.get("spikeflip_t0", "")
    from_zero = lines.get("t0", "")
    relative = re.fullmatch(number, from_zero) and not re.fullmatch(number, zero)
    return held, int(from_zero) if relative else 0


def dat(data):
    lines, rest = text_header(data)
    held, base = header_facts(lines)
    if len(rest) < 2 or rest[0] not in (0, 12) or rest[1] != 8 or (len(rest) - 2) % 8:
        return None
    version = lines.get("version", "")
    old = rest[0] == 0 and not (re.fullmatch(r"\d{1,19}", version) and int(version) >= 2)
    clock = Counter(1 << 32)
    for time, pixel in struct.iter_unpack("<II", rest[2:]):
        x, y, p = (
            (pixel % 512, pixel // 512 % 256, pixel >> 17)
            if old
            else (pixel % 16384, pixel // 16384 % 16384, pixel >> 28)
        )
        if p > 1:
            return None
        held.add(clock.on(time) + base, x, y, p)
    if clock.rounds:
        held.noted.add("clock-round")
    return held


def evt2(data):
    lines, rest = text_header(data)
    held, base = header_facts(lines)
    if len(rest) % 4:
        return None
    clock, high = Counter(1 << 28), None
    for (word,) in struct.iter_unpack(">I" if lines.get("endianness") == "big" else "<I", rest):
        kind = word >> 28
        if kind == 8:
            high = clock.on(word % (1 << 28))
        elif kind in (0, 1):
            if high is None:
                held.noted.add("untimed-events")
            else:
                held.add(high * 64 + (word >> 22) % 64 + base, (word >> 11) % 2048, word % 2048, kind)
        elif kind not in EVT2_KINDS:
            held.noted.add("unknown-words")
    if clock.rounds:
        held.noted.add("clock-round")
    return held


def evt3(data):  # noqa: C901 - a case a word
    lines, rest = text_header(data)
    held, base = header_facts(lines)
    if len(rest) % 2:
        return None
    clock, high, low, y, first, on = Counter(1 << 12), None, 0, 0, 0, 0
    for (word,) in struct.iter_unpack(">H" if lines.get("endianness") == "big" else "<H", rest):
        kind, value, pixels = word >> 12, word % 4096, []
        if kind == 0:
            y = value % 2048
        elif kind == 2:
            pixels = [(value % 2048, value >> 11)]
        elif kind == 3:
            first, on = value % 2048, value >> 11
        elif kind in (4, 5):
            n = 12 if kind == 4 else 8
            pixels = [(first + k, on) for k in range(n) if value >> k & 1]
            first += n
        elif kind == 6:
            low = value
        elif kind == 8:
            high, low = clock.on(value), 0
        elif kind not in EVT3_KINDS:
            held.noted.add("unknown-words")
        for x, p in pixels:
            if high is None:
                held.noted.add("untimed-events")
            else:
                held.add(high * 4096 + low + base, x, y, p)
    return held


def es(data):
    if data[:12] != b"Event Stream" or len(data) < 20 or data[12] != 2 or data[15] not in (1, 2):
        return None
    atis = data[15] == 2
    width, height = struct.unpack("<HH", data[16:20])
    held, at, time = Held(size=(width, height)), 20, 0
    while at < len(data):
        byte = data[at]
        if byte >= (252 if atis else 254):
            time += 63 * (byte - 252) if atis else 127 * (byte - 254)
            at += 1
            continue
        if at + 5 > len(data):
            return None
        x, y = struct.unpack("<HH", data[at + 1 : at + 5])
        time += byte // 4 if atis else byte // 2
        if not (atis and byte % 2):
            held.add(time, x, height - 1 - y, byte // 2 % 2 if atis else byte % 2)
        at += 5
    return held


def csv(data):
    text = data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    held = Held(noted={"sensor-guessed"})
    if not lines:
        return held
    names = [cell.strip().lower() for cell in lines[0].split(",")]
    if any(names.count(name) != 1 for name in "txyp"):
        held.noted.add("columns-found")  # or refused
        return held
    if len(names) > 4:
        held.noted.add("other-columns")
    for line in lines[1:]:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < len(names) or not all(re.fullmatch(r"[+-]?\d+", cells[names.index(name)]) for name in "txyp"):
            return None
        t, x, y, p = (int(cells[names.index(name)]) for name in "txyp")
        held.add(t, x, y, p > 0)
    return held


def flat(data, at):
    """The places of the fields of a flatbuffer's table."""
    (back,) = struct.unpack_from("<i", data, at)
    (size,) = struct.unpack_from("<H", data, at - back)
    offsets = struct.unpack_from(f"<{size // 2 - 2}H", data, at - back + 4)
    return [at + offset if offset else None for offset in offsets]


def aedat4(data):
    """Uncompressed, one stream or several, of which the first is read."""
    line, _, rest = data.partition(b"\n")
    if not line.startswith(b"#!AER-DAT4") or len(rest) < 4:
        return None
    (size,) = struct.unpack_from("<I", rest)
    header, body = rest[4 : 4 + size], rest[4 + size :]
    fields = flat(header, struct.unpack_from("<I", header)[0])
    (end,) = struct.unpack_from("<q", header, fields[1]) if len(fields) > 1 and fields[1] else (-1,)
    (node,) = struct.unpack_from("<I", header, fields[2])
    (length,) = struct.unpack_from("<I", header, fields[2] + node)
    description = header[fields[2] + node + 4 : fields[2] + node + 4 + length].decode("utf-8")
    sides = [re.search(rf'key="size{axis}"[^>]*>\s*(\d+)\s*<', description) for axis in "XY"]
    held, at = Held(), 0
    if all(sides):
        held.size = int(sides[0][1]), int(sides[1][1])
    else:
        held.noted.add("sensor-guessed")
    stop = len(body) if end < 0 else end - (len(line) + 1 + 4 + size)
    while at < stop:
        stream, count = struct.unpack_from("<iI", body, at)
        packet = body[at + 8 : at + 8 + count]
        if len(packet) < count:
            return None
        at += 8 + count
        if stream != 0:
            held.noted.add("other-streams")
            continue
        buffer = packet[4:]
        table = flat(buffer, struct.unpack_from("<I", buffer)[0])
        if not table or table[0] is None:
            continue
        start = table[0] + struct.unpack_from("<I", buffer, table[0])[0]
        (n,) = struct.unpack_from("<I", buffer, start)
        for k in range(n):
            t, x, y, on = struct.unpack_from("<qhh?", buffer, start + 4 + 16 * k)
            held.add(t, x, y, on)
    return held


DECODERS = {"DAT": dat, "EVT2": evt2, "EVT3": evt3, "ES": es, "csv": csv, "AEDAT4": aedat4}
