"""Encrypts a key as cosign does: `cosign_key.py KEY PASSWORD N LABEL`, KEY a PKCS#8 file in DER. Prints the PEM file."""

import base64
import hashlib
import json
import os
import sys

import nacl.secret

key, password, cost, label = sys.argv[1:]
cost = int(cost)
salt, nonce = os.urandom(32), os.urandom(24)
derived = hashlib.scrypt(password.encode(), salt=salt, n=cost, r=8, p=1, maxmem=1 << 30, dklen=32)
with open(key, "rb") as file:
    box = nacl.secret.SecretBox(derived).encrypt(file.read(), nonce)
text = lambda data: base64.b64encode(data).decode()
document = {
    "kdf": {"name": "scrypt", "params": {"N": cost, "r": 8, "p": 1}, "salt": text(salt)},
    "cipher": {"name": "nacl/secretbox", "nonce": text(nonce)},
    "ciphertext": text(box.ciphertext),
}
body = text(json.dumps(document).encode())
lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
print(f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----")
