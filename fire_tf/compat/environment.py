"""Which Python, TensorFlow and Keras the package works with, before any of them is loaded.

Reads the installed versions from the packages' metadata, which costs milliseconds and imports nothing. `prepare` runs
at ``import fire_tf`` and refuses nothing but a Python; `check_environment` runs where Keras is needed, so that the
client and ``apply`` work without TensorFlow.
"""

import os
import sys
from importlib import metadata
from types import TracebackType

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
KERAS_2 = "2.15"
"""The TensorFlow whose own Keras is Keras 2; later ones bring Keras 3, and take Keras 2 from tf-keras if told to."""
OLDEST_OF_LATER, NEWEST_TENSORFLOW = (2, 18), (2, 21)

_LEGACY = "TF_USE_LEGACY_KERAS"
_CHOSEN = ("1", "true", "True")  # what TensorFlow itself takes for a yes


class UnsupportedEnvironmentError(ImportError):
    """`fire_tf` cannot work here; the message is one line that names the fix."""


def prepare() -> None:
    """Make TensorFlow, if it is loaded later, quiet, fast and its Keras version 2; refuse Pythons that do not fit."""
    fault = _fault_of_python()
    if fault is not None:
        _refuse(fault)
    # 3 and not 2: TensorFlow 2.15 logs the double registration of cuDNN, cuFFT and cuBLAS as errors, though it is
    # harmless and happens on every machine. Real failures reach Python as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes oneDNN by itself only where a CPU has AVX-512 for networks (VNNI); elsewhere its own convolutions
    # take 4 times (2D) to 7 times (3D) as long: docs/performance.md.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if brings_keras_3() and "tensorflow" not in sys.modules:
        os.environ.setdefault(_LEGACY, "1")


def check_environment() -> None:
    """Raise `UnsupportedEnvironmentError` where the networks cannot work."""
    fault = find_fault()
    if fault is not None:
        _refuse(fault)


def find_fault() -> str | None:
    """One line that says what does not fit and how to mend it, or None."""
    return _fault_of_python() or _fault_of_tensorflow() or _fault_of_keras() or _fault_of_warping()


def _fault_of_python() -> str | None:
    found = sys.version_info[:2]
    if OLDEST_PYTHON <= found <= NEWEST_PYTHON:
        return None
    return (
        f"fire_tf needs Python {_dotted(OLDEST_PYTHON)} to {_dotted(NEWEST_PYTHON)}, found {_dotted(found)} "
        "(TensorFlow has no wheels for it that fit): python3.13 -m venv .venv"
    )


def _fault_of_tensorflow() -> str | None:
    found = _version("tensorflow")
    newest = _dotted(NEWEST_TENSORFLOW)
    if _leading(found) == KERAS_2 or OLDEST_OF_LATER <= _numbers(found) <= NEWEST_TENSORFLOW:
        return None
    return (
        f"fire_tf needs tensorflow {KERAS_2} or {_dotted(OLDEST_OF_LATER)} to {newest}, found {found}: "
        f"pip install {_wanted_tensorflow()}"
    )


def _fault_of_keras() -> str | None:
    tensorflow = _version("tensorflow")
    chosen = os.environ.get(_LEGACY)
    if not _is_later(tensorflow):
        if chosen in _CHOSEN:
            return f"{_LEGACY}={chosen} is for later TensorFlows, and {tensorflow} has Keras 2 anyway: unset {_LEGACY}"
        return _fault_of_version("keras", KERAS_2, "pip install tensorflow==2.15.1 keras==2.15.0")
    fault = _fault_of_version(
        "tf-keras", _leading(tensorflow), f"pip install tf-keras=={_leading(tensorflow)}.*"
    )
    if fault is not None:
        return fault
    loaded = sys.modules.get("tensorflow")
    if loaded is not None and not getattr(loaded, "_tf_uses_legacy_keras", True):
        return (
            f"tensorflow was imported with Keras 3 before fire_tf: import fire_tf first, or set {_LEGACY}=1"
        )
    if chosen not in _CHOSEN:
        return f"{_LEGACY}={chosen} chooses Keras 3, and fire_tf needs Keras 2: unset {_LEGACY}"
    return None


def _fault_of_warping() -> str | None:
    names = ("voxelmorph", "neurite")
    faults = (_fault_of_version(name, "0.2", f"pip install {name}==0.2") for name in names)
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_version(name: str, wanted: str, fix: str) -> str | None:
    found = _version(name)
    return None if _leading(found) == wanted else f"fire_tf needs {name} {wanted}, found {found}: {fix}"


def _wanted_tensorflow() -> str:
    return "tensorflow==2.15.1" if sys.version_info[:2] < (3, 12) else '"tensorflow<2.22" "tf-keras<2.22"'


def brings_keras_3() -> bool:
    """Whether the installed TensorFlow is one whose own Keras is Keras 3."""
    return _is_later(_version("tensorflow"))


def _is_later(tensorflow: str) -> bool:
    """Whether this TensorFlow's own Keras is Keras 3."""
    return _numbers(tensorflow) > _numbers(KERAS_2)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else ()


def _leading(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def installed_version(name: str) -> str | None:
    """The version of an installed package, from its metadata; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _version(name: str) -> str:
    return installed_version(name) or "none"


def _refuse(fault: str) -> None:
    """Raise `UnsupportedEnvironmentError`, and let it end a program that does not catch it with its line alone.

    The import system's frames would bury the line that matters. Every other exception goes to the hook that
    was there before.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, UnsupportedEnvironmentError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = hook
    raise UnsupportedEnvironmentError(fault)
