"""Prints the directory of the PKITS certificates."""

import pathlib

import cryptography_vectors

print(pathlib.Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data" / "certs")
