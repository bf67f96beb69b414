"""Prints which hostile quotes and certifications Keylime's functions accept. Exits with 1 if they accept any that every verifier
must reject.

The only argument is the folder of the vectors.
"""

import json
import logging
import struct
import sys
import types
from pathlib import Path

# Keylime's module of TPM functions imports the parser of signed policies, which needs a C library and is not used here.
sys.modules["gpg"] = types.ModuleType("gpg")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from keylime.tpm import tpm2_objects, tpm_util  # noqa: E402
from keylime.tpm.tpm_main import Tpm  # noqa: E402

DIGEST_SIZES = {0x0004: 20, 0x000B: 32, 0x000C: 48}

# Detected by a verifier that has the bare key, the nonce and the PCR values.
PLAIN = {
    "quote-stale-nonce",
    "quote-signed-by-another-key",
    "quote-other-values",
    "certify-another-key",
}


def sized(structure: bytes) -> bytes:
    """Returns the TPM2B_ form."""
    return struct.pack(">H", len(structure)) + structure


def pem(public: bytes) -> bytes:
    """Returns the bare key, which is all that Keylime gets for a quote."""
    key = tpm2_objects.pubkey_from_tpm2b_public(sized(public))
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def quoted(attest: bytes) -> list[tuple[int, int]]:
    """Returns the PCR selection in a quote: bank and bits."""
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
    """Returns PCR values as tpm2_quote -F serialized writes them."""
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


def takes_quote(given: dict) -> bool:
    ak, attest, signature, values = (bytes.fromhex(given[of]) for of in ("ak", "attest", "signature", "pcr_values"))
    nonce = bytes.fromhex(given["nonce"]).decode()
    tpm_util.checkquote(pem(ak), nonce, signature, attest, serialized(quoted(attest), values), "sha256")
    return True


def takes_certify(given: dict) -> bool:
    ak, key, attest, signature = (bytes.fromhex(given[of]) for of in ("ak", "object", "attest", "signature"))
    nonce = bytes.fromhex(given["nonce"]).decode()
    return Tpm.verify_aik_with_iak(nonce, sized(key), sized(ak), attest, signature)


KINDS = {
    "quote": ("checkquote", takes_quote),
    "certify": ("verify_aik_with_iak", takes_certify),
}


def main() -> int:
    logging.disable(logging.CRITICAL)
    folder = Path(sys.argv[1])
    wrong = []
    for kind, (function, takes) in KINDS.items():

        def taken(vector: dict) -> bool:
            try:
                return takes(vector["input"])
            except Exception:  # any exception is a refusal
                return False

        def read(part: Path) -> list[dict]:
            vectors = (json.loads(path.read_text()) for path in sorted(part.glob("*.json")))
            return [vector for vector in vectors if vector["kind"] == kind]

        sound = read(folder / "sound")
        asked = [vector for vector in sound if taken(vector)]
        left = ", ".join(vector["name"] for vector in sound if vector not in asked)
        hostile = read(folder)
        passed = [vector for vector in hostile if taken(vector)]
        print(f"Keylime's {function} takes {len(asked)} of {len(sound)} sound vectors" + (f", and not {left}" if left else ""))
        print(f"Keylime's {function} refuses {len(hostile) - len(passed)} of {len(hostile)} hostile vectors")
        print("  and takes:")
        for vector in passed:
            print(f"    {vector['name']}: {vector['what']}")
        wrong += [vector["name"] for vector in passed if vector["name"] in PLAIN]
        if not asked:
            wrong.append(f"no sound {kind}")
    for name in wrong:
        print(f"wrong: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
