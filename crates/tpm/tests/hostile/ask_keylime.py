"""What Keylime's checkquote takes of the hostile quotes, printed.

Run by hand: python3 -m venv v; v/bin/pip install keylime cryptography pyasn1 pyasn1-modules pyyaml jsonschema requests
packaging typing-extensions lark; v/bin/python crates/tpm/tests/hostile/ask_keylime.py
"""

import json
import logging
import struct
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from keylime.tpm import tpm_util

VECTORS = Path(__file__).parent.parent / "vectors" / "hostile"
DIGEST_SIZES = {0x0004: 20, 0x000B: 32, 0x000C: 48}
NULL = 0x0010


def pem(public: bytes) -> bytes:
    """The key alone, which is all that Keylime is given: a TPMT_PUBLIC of an ECC key ends with its point."""
    (policy_size,) = struct.unpack_from(">H", public, 8)
    at = 10 + policy_size
    for with_parameters in (6, 4):  # symmetric, scheme
        (algorithm,) = struct.unpack_from(">H", public, at)
        at += 2 if algorithm == NULL else with_parameters
    at += 2  # curve
    (kdf,) = struct.unpack_from(">H", public, at)
    at += 2 if kdf == NULL else 4
    point = []
    for _ in "xy":
        (size,) = struct.unpack_from(">H", public, at)
        point.append(int.from_bytes(public[at + 2 : at + 2 + size], "big"))
        at += 2 + size
    key = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def quoted(attest: bytes) -> list[tuple[int, int]]:
    """The selection in a quote: bank and bits."""
    at = 6
    for _ in ("qualifiedSigner", "extraData"):
        (size,) = struct.unpack_from(">H", attest, at)
        at += 2 + size
    at += 25
    (count,) = struct.unpack_from(">I", attest, at)
    at += 4
    selection = []
    for _ in range(count):
        bank, size = struct.unpack_from(">HB", attest, at)
        selection.append((bank, int.from_bytes(attest[at + 3 : at + 3 + size], "little")))
        at += 3 + size
    return selection


def serialized(selection: list[tuple[int, int]], values: bytes) -> bytes:
    """Registers as tpm2_quote -F serialized writes them."""
    out = struct.pack("<I", len(selection))
    for bank, bits in selection:
        out += struct.pack("<HB", bank, 3) + bits.to_bytes(4, "little")[:3] + bytes(2)
    out += bytes(8 * (16 - len(selection)))
    digests, at = [], 0
    for bank, bits in selection:
        for _ in range(bits.bit_count()):
            size = DIGEST_SIZES.get(bank, 32)
            digests.append(values[at : at + size])
            at += size
    digests += [values[at:]] if at < len(values) else []
    lists = [digests[first : first + 8] for first in range(0, len(digests), 8)]
    out += struct.pack("<I", len(lists))
    for of in lists:
        out += struct.pack("<I", len(of))
        for digest in of + [b""] * (8 - len(of)):
            out += struct.pack("<H", len(digest)) + digest.ljust(64, b"\0")
    return out


def takes(vector: dict) -> bool:
    given = vector["input"]
    ak, attest, signature, values = (bytes.fromhex(given[of]) for of in ("ak", "attest", "signature", "pcr_values"))
    nonce = bytes.fromhex(given["nonce"]).decode()
    try:
        tpm_util.checkquote(pem(ak), nonce, signature, attest, serialized(quoted(attest), values), "sha256")
    except Exception:  # it refuses by whatever is raised
        return False
    return True


def main() -> None:
    logging.disable(logging.CRITICAL)
    read = lambda path: json.loads(path.read_text())
    assert takes(read(VECTORS / "sound" / "quote.json"))
    hostile = [read(path) for path in sorted(VECTORS.glob("quote-*.json"))]
    taken = [vector for vector in hostile if takes(vector)]
    print(f"Keylime's checkquote refuses {len(hostile) - len(taken)} of {len(hostile)} hostile quotes, and takes:")
    for vector in taken:
        print(f"  {vector['name']}: {vector['what']}")


if __name__ == "__main__":
    main()
