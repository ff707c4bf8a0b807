"""How Hearth's image is built on this machine, with or without a mirror or authorities of its own."""

import re
from pathlib import Path

from clusterkit.config.environment import environment
from tests.lab.image import CA_BUNDLE, ensure_image

AUTHORITIES = Path("/usr/share/ca-certificates")
BUILD_SECONDS = 900


def build_arguments() -> dict[str, str]:
    """What the Dockerfile is told here: a base that needs no registry, and the way to packages."""
    index = environment().get("PIP_INDEX_URL")
    told = {"BASE": ensure_image(), "CA_CERTIFICATE": _extra_authorities()}
    return {**told, "PIP_INDEX_URL": index} if index else told


def _extra_authorities() -> str:
    """The certificates that this machine trusts beyond Debian's own, such as a private mirror's."""
    pem = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
    shipped = {
        found
        for file in AUTHORITIES.rglob("*.crt")
        for found in pem.findall(file.read_text(errors="replace"))
    }
    trusted = pem.findall(CA_BUNDLE.read_text()) if CA_BUNDLE.is_file() else []
    return "\n".join(found for found in trusted if found not in shipped) if shipped else ""
