"""The one door to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, errors, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from encoderkit.errors import ModelNotFoundError, NetworkError, StorageError
from encoderkit.sources.checkpoint import TOKENIZER_FILES

_ALWAYS = (
    "config.json",
    "modules.json",
    "sentence_*_config.json",
    "*_Pooling/*",
    "*_Dense*/*",
    "*_Normalize/*",
    "*_Transformer/*",
    *TOKENIZER_FILES,
)
_SAFE = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")
_ASK_SECONDS = 10.0
# The base of what the library's HTTP client raises, whichever client that is.
_HTTP_ERROR: type[Exception] = vars(errors)["HTTPError"]
_NEVER = ("*.py", "*.h5", "*.msgpack", "onnx/*", "openvino/*")


def download(
    model: str, revision: str | None, on_progress: Callable[[str, int, int | None], None]
) -> tuple[Path, str | None]:
    """Have a repository's files on this machine; what was begun earlier is resumed.

    Code is never fetched. HF_HUB_OFFLINE, HF_TOKEN and HF_HOME hold.

    Returns:
        the folder, and the commit that the revision stands for.

    Raises:
        ModelNotFoundError: no such repository or revision, or no right to it.
        NetworkError: the Hub can't be reached and the files aren't here from an earlier time.
    """
    try:
        folder = Path(_snapshot(model, revision, on_progress))
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{model!r} is gated: its owner has to grant you access",
            hint="Ask on its page, then set HF_TOKEN to your token",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{model!r} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"{model!r} is neither a folder here nor a model of the Hugging Face Hub",
            hint="Check the spelling; a private model needs HF_TOKEN; `demo` needs nothing",
        ) from error
    except HFValidationError as error:
        raise ModelNotFoundError(
            f"{model!r} is no folder here and can't be a Hub id",
            hint="Name a checkpoint folder, a Hub id such as bert-base-uncased, or `demo`",
        ) from error
    except (OSError, RuntimeError, _HTTP_ERROR) as error:
        # RuntimeError is what the transfer library hf_xet raises.
        raise _unreachable(model, error) from error
    commit = folder.name if folder.parent.name == "snapshots" else revision
    return folder, commit


def _unreachable(model: str, error: Exception) -> Exception:
    is_network = isinstance(error, (ConnectionError, TimeoutError))
    if isinstance(error, OSError) and error.errno is not None and not is_network:
        return StorageError(
            f"the files of {model!r} can't be stored: {error.strerror}",
            hint="Choose another place with HF_HOME",
        )
    offline = constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled)
    reason = "HF_HUB_OFFLINE is set" if offline else "the Hugging Face Hub can't be reached"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == HTTPStatus.UNAUTHORIZED:
        return ModelNotFoundError(
            f"{model!r} is no folder here, and the Hugging Face Hub refuses your token",
            hint="Set HF_TOKEN to a valid one, or unset it",
        )
    if status is not None:
        reason += f" (it answered {status})"
    return NetworkError(
        f"{model!r} is no folder here, {reason}, and its files aren't in the cache",
        hint="Name a local folder, or try again with a network; `demo` needs none",
    )


def _snapshot(model: str, revision: str | None, on_progress: Callable[[str, int, int | None], None]) -> str:
    on_progress(model, 0, None)
    try:
        info = HfApi().model_info(model, revision=revision, timeout=_ASK_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except (_HTTP_ERROR, OfflineModeIsEnabled) as error:
        try:
            return _cached(model, revision)
        except LocalEntryNotFoundError:
            raise error from None
    return str(
        snapshot_download(
            model,
            revision=revision,
            allow_patterns=[*_ALWAYS, *_weight_patterns(file.rfilename for file in info.siblings or [])],
            ignore_patterns=list(_NEVER),
            tqdm_class=_progress_class(model, on_progress),
        )
    )


def _cached(model: str, revision: str | None) -> str:
    """The folder that an earlier download left.

    Safetensors and pickles are looked for one after the other: a download brings one of them, and the library
    refuses a cache that lacks any file that the patterns name.
    """
    folder = ""
    for weights in (_SAFE, _PICKLED):
        folder = snapshot_download(
            model,
            revision=revision,
            allow_patterns=[*_ALWAYS, *weights],
            ignore_patterns=list(_NEVER),
            local_files_only=True,
        )
        if any(any(Path(folder).glob(pattern)) for pattern in weights):
            break
    return folder


def _weight_patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Safetensors where the repository has them, else pickles, else safetensors of another name."""
    files = tuple(names)
    for weights in (_SAFE, _PICKLED):
        if any(fnmatch(name, pattern) for name in files for pattern in weights):
            return weights
    return tuple(name for name in files if name.endswith(".safetensors") and "/" not in name)


def _progress_class(model: str, on_progress: Callable[[str, int, int | None], None]) -> type[Any]:
    """A tqdm that shows nothing and tells `on_progress` how many bytes there are."""

    class Silent(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})
            self._bytes = options.get("unit") == "B"

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self._bytes:
                on_progress(model, int(self.n), int(self.total) if self.total else None)
            return None

    return Silent
