"""Made-up credentials in the formats that real ones have. Each has a part that must never be seen again."""

from dataclasses import dataclass

_BODY = "Zq7xW2vK9mB4tR8n"  #: in every canary: finding it anywhere means that one got through
_LONG = _BODY + "Yc3pL6sD1fH5gJ0aE7uT2iO9wQ4e"


@dataclass(frozen=True)
class Canary:
    """Text as somebody would write it; `secret` is the part that has to vanish."""

    name: str
    text: str
    secret: str


def _token(name: str, prefix: str, body: str = _LONG) -> Canary:
    return Canary(name, f"it is {prefix}{body} as agreed", body)


def _written(name: str, text: str, secret: str) -> Canary:
    return Canary(name, text.format(secret), secret)


CANARIES = (
    _token("OpenAI key", "sk-proj-"),
    _token("Anthropic key", "sk-ant-api03-"),
    _token("Stripe key", "sk_live_"),
    _token("GitHub token", "ghp_", _LONG.replace("-", "")),
    _token("GitHub fine-grained token", "github_pat_"),
    _token("GitLab token", "glpat-"),
    _token("Slack token", "xoxb-"),
    Canary("AWS key id", "id AKIAZQ7XW2VK9MB4TR8N.", "ZQ7XW2VK9MB4TR8N"),
    _token("Google API key", "AIza"),
    _token("Google client secret", "GOCSPX-"),
    _token("Google access token", "ya29."),
    _token("Hugging Face token", "hf_"),
    _token("npm token", "npm_"),
    _token("PyPI token", "pypi-"),
    _token("Vault token", "hvs."),
    _token("SendGrid key", "SG.", f"{_LONG}.{_LONG}"),
    _token("age key", "AGE-SECRET-KEY-1", _LONG.upper()),
    _written("JSON Web Token", "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.{} end", _LONG),
    _written("private key", "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", _LONG),
    _written("private key without its end", "-----BEGIN OPENSSH PRIVATE KEY-----\n{}", _LONG),
    _written("PGP key", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n", _LONG),
    _written("bearer header", "Authorization: Bearer {}", _LONG),
    _written("basic header", "Authorization: Basic {}==", _LONG),
    _written("password in a URL", "postgresql://hearth:{}@db.example/agent", _BODY),
    _written("password alone in a URL", "redis://:{}@db.example/0", _BODY),
    _written("token in a query", "GET /v1?access_token={}&page=2", _BODY),
    _written("secret of a second factor", "otpauth://totp/Hearth?secret={}&issuer=x", _BODY.upper()),
    _written("assignment", "password = {}", _BODY),
    _written("variable of a shell", "export DB_PASSWORD={}", _BODY),
    _written("AWS secret in a file", "aws_secret_access_key = {}", _LONG),
    _written("JSON", '{{"clientSecret": "{}", "a": 1}}', _BODY),
    _written("quoted words", 'password: "correct horse {}"', _BODY),
    _written("option of a command", "mysql --password {} --host db", _BODY),
    _written("cookie header", "Cookie: theme=dark; session={}", _BODY),
    _written("Consul header", "X-Consul-Token: {}", "3f2a7c1e-9b4d-4e6f-8a1b-0c5d7e9f2b3a"),
)
