"""Drives a server with the real Azure client for Python: client.py URL SERVER_CERTIFICATE.

The token is in KEYPROOF_TOKEN; files are created in the current directory. Anything unexpected raises an exception.
"""

import base64
import datetime
import hashlib
import os
import subprocess
import sys
import time

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ResourceNotModifiedError,
)
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from azure.mgmt.iothubprovisioningservices.models import (
    CertificateProperties,
    CertificateResponse,
    VerificationCodeRequest,
)

URL, SERVER_CERTIFICATE = sys.argv[1:]
PLACE = ("Group", "Dps")  # positional; after the certificate's name for the operations that start with that
AT = MatchConditions.IfNotModified

KEYS = {
    "rsa2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "rsa3072": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
    "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "ed25519": ["-algorithm", "ED25519"],
}

proven = refused = 0


class Token:
    """A credential that contains one bearer token."""

    def __init__(self, text):
        self.text = text

    def get_token(self, *_scopes, **_more):
        return AccessToken(self.text, int(time.time()) + 3600)


def client(token=os.environ["KEYPROOF_TOKEN"], subscription="Sub-1"):
    return IotDpsClient(
        Token(token),
        subscription,
        base_url=URL,
        credential_scopes=[URL],
        connection_verify=SERVER_CERTIFICATE,
        retry_total=0,
    ).dps_certificate


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Ca:
    """A CA as users create it with openssl."""

    def __init__(self, name, key):
        self.name = name
        openssl("genpkey", *KEYS[key], "-out", f"{name}.key")
        openssl(
            *["req", "-x509", "-new", "-key", f"{name}.key", "-days", "365"],
            *["-subj", f"/O=Acme/CN={name}", "-out", f"{name}.pem"],
        )
        openssl("x509", "-in", f"{name}.pem", "-outform", "DER", "-out", f"{name}.der")
        self.pem, self.der = read(f"{name}.pem"), read(f"{name}.der")
        self.thumbprint = hashlib.sha1(self.der).hexdigest().upper()

    def leaf(self, code):
        """A verification leaf in PEM, of X.509 version 1, as the usual openssl commands create it."""
        openssl("genpkey", *KEYS["p256"], "-out", "leaf.key")
        openssl("req", "-new", "-key", "leaf.key", "-subj", f"/CN={code}", "-out", "leaf.csr")
        openssl(
            *["x509", "-req", "-in", "leaf.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key"],
            *["-CAcreateserial", "-days", "30", "-out", "leaf.pem"],
        )
        return read("leaf.pem")


def fails(kind, code, call, *arguments, **named):
    """Asserts that the call fails with this exception and code, and that the client has parsed the answer."""
    try:
        call(*arguments, **named)
    except HttpResponseError as error:
        assert type(error) is kind, repr(error)
        assert error.error.code == code, error.error
        assert error.error.message and error.error.message in str(error), error
        # Statuses with their own exception class have no model.
        if isinstance(code, int) and kind is HttpResponseError:
            assert error.model.code == code, error.model
            assert error.model.http_status_code == error.reason.replace(" ", ""), error.model
            assert error.model.message == error.error.message, error.model
            assert isinstance(error.model.details, str), error.model
        return error
    raise AssertionError(f"{call.__name__} did not fail")


def crlf(pem):
    return pem.replace(b"\n", b"\r\n")


# The model's `certificate` is bytes, which the client sends as base64; a custom body may contain anything.
def nested(content):
    return CertificateResponse(properties=CertificateProperties(certificate=content))


UPLOADS = {
    "base64 of DER": lambda ca: nested(ca.der),
    "base64 of PEM": lambda ca: nested(ca.pem),
    "base64 of PEM with CRLF": lambda ca: nested(crlf(ca.pem)),
    "base64 of PEM with a byte order mark": lambda ca: nested(b"\xef\xbb\xbf" + ca.pem),
    "base64 of PEM with a chain": lambda ca: nested(ca.pem + ca.pem),
    "PEM": lambda ca: {"properties": {"certificate": ca.pem.decode()}},
    "PEM with CRLF": lambda ca: {"properties": {"certificate": crlf(ca.pem).decode()}},
    "PEM in a flat body": lambda ca: {"certificate": ca.pem.decode()},
}

# The returned file, if it is not the certificate's DER.
ANSWERED = {
    "base64 of PEM": lambda ca: ca.pem,
    "base64 of PEM with CRLF": lambda ca: crlf(ca.pem),
    "PEM": lambda ca: ca.pem,
    "PEM with CRLF": lambda ca: crlf(ca.pem),
    "PEM in a flat body": lambda ca: ca.pem,
}

LEAVES = {
    "PEM": lambda pem: pem.decode(),
    "base64 of PEM": lambda pem: base64.b64encode(pem).decode(),
    "base64 of PEM with CRLF": lambda pem: base64.b64encode(crlf(pem)).decode(),
    "base64 of DER": lambda pem: "".join(pem.decode().splitlines()[1:-1]),
}


def walk(name, ca, stranger, certificates):
    """Runs the complete life of one certificate."""
    global proven, refused
    fails(ResourceNotFoundError, 404001, certificates.get, name, *PLACE)
    for encoding, upload in UPLOADS.items():
        current = None
        for item in certificates.list(*PLACE).value:
            current = item.etag if item.name == name else current
        matched = {"etag": current, "match_condition": AT} if current else {}
        put = certificates.create_or_update(*PLACE, name, upload(ca), **matched)
        assert put.properties.thumbprint == ca.thumbprint, encoding
        assert put.properties.certificate == ANSWERED.get(encoding, lambda ca: ca.der)(ca), encoding
        assert put.properties.subject == f"CN={ca.name},O=Acme", put.properties.subject
        assert put.properties.is_verified is False, encoding
        for moment in (put.properties.expiry, put.properties.created, put.properties.updated):
            assert isinstance(moment, datetime.datetime) and moment.year >= 2024, moment
        assert put.etag != current
    # The client raises its own exception for it only if it was told to match an etag.
    fails(HttpResponseError, 412001, certificates.create_or_update, *PLACE, name, nested(ca.der))
    got = certificates.get(name, *PLACE)
    assert got.as_dict() == put.as_dict(), (got, put)
    try:
        certificates.get(name, *PLACE, etag=got.etag, match_condition=MatchConditions.IfModified)
        raise AssertionError("a certificate that the client has already was sent again")
    except ResourceNotModifiedError:
        pass
    place = f"/subscriptions/Sub-1/resourceGroups/{PLACE[0]}/providers/Microsoft.Devices"
    assert got.id == f"{place}/provisioningServices/{PLACE[1]}/certificates/{name}", got.id

    etag = got.etag
    for encoding, encode in LEAVES.items():
        generated = certificates.generate_verification_code(name, *PLACE, etag=etag, match_condition=AT)
        code = generated.properties.verification_code
        assert len(code) == 48 and code == code.upper(), code
        assert generated.etag != etag
        leaf = ca.leaf(code)
        request = VerificationCodeRequest(certificate=encode(leaf))
        # A common mistake.
        fails(
            *[ResourceModifiedError, 412001, certificates.verify_certificate, name, *PLACE, request],
            etag=etag,
            match_condition=AT,
        )
        etag = generated.etag
        for wrong, number in [(stranger.leaf(code), 400053), (ca.leaf("0" * 48), 400057)]:
            error = fails(
                *[HttpResponseError, number, certificates.verify_certificate, name, *PLACE],
                VerificationCodeRequest(certificate=encode(wrong)),
                etag=etag,
                match_condition=AT,
            )
            assert "Proof of possession failed" in error.message, error.message
            refused += 1
        # With all the old query parameters, which have no effect any more.
        verified = certificates.verify_certificate(
            name,
            *PLACE,
            request,
            etag=etag,
            match_condition=AT,
            certificate_name1="Common Name 1",
            certificate_raw_bytes=b"\xfb\xff raw",
            certificate_is_verified=False,
            certificate_purpose="clientAuthentication",
            certificate_created=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
            certificate_last_updated=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
            certificate_has_private_key=False,
            certificate_nonce="NONCE/+=",
        )
        assert verified.properties.is_verified is True, encoding
        assert verified.etag != etag
        etag = verified.etag
        proven += 1
    listed = {item.name: item.properties.is_verified for item in certificates.list(*PLACE).value}
    assert listed[name] is True, listed


def main():
    certificates = client()
    assert certificates.list(*PLACE).value == []
    stranger = Ca("Stranger", "p256")
    cas = {key: Ca(f"Root {key}".replace(" ", "-"), key) for key in KEYS}
    for key, ca in cas.items():
        walk(key, ca, stranger, certificates)
        print("walked", key, flush=True)

    asserted = CertificateResponse(properties=CertificateProperties(certificate=stranger.der, is_verified=True))
    put = certificates.create_or_update(*PLACE, "asserted", asserted)
    assert put.properties.is_verified is True
    for number in range(25 - len(KEYS) - 1):
        certificates.create_or_update(*PLACE, f"more-{number}", nested(stranger.der))
    fails(ResourceExistsError, 409001, certificates.create_or_update, *PLACE, "one-more", nested(stranger.der))

    error = fails(
        *[HttpResponseError, 400006, certificates.create_or_update, *PLACE, "asserted"],
        {"certificate": read("leaf.key").decode()},
        etag=put.etag,
        match_condition=MatchConditions.IfPresent,
    )
    assert "private key" in error.message.lower(), error.message
    fails(ClientAuthenticationError, "InvalidAuthenticationToken", client(token="x").list, *PLACE)
    fails(HttpResponseError, "AuthorizationFailed", client(subscription="Sub-2").list, *PLACE)

    everything = certificates.list(*PLACE).value
    assert len(everything) == 25, len(everything)
    for item in everything:
        fails(ResourceModifiedError, 412001, certificates.delete, *PLACE, item.name, etag="x", match_condition=AT)
        certificates.delete(*PLACE, item.name, etag=item.etag, match_condition=AT)
        # Deleting it again is not an error.
        certificates.delete(*PLACE, item.name, etag=item.etag, match_condition=AT)
    assert certificates.list(*PLACE).value == []
    print(f"proven {proven}, refused {refused}")


main()
