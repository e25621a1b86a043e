"""What is said of a server that refuses, and of an answer that is not TensorFlow Serving's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError

from fire_tf.files.errors import InputError
from fire_tf.serving.messages import Value

_EXPLAINED = {
    "UNAVAILABLE": "cannot be reached",
    "DEADLINE_EXCEEDED": "gave no answer in time, see --timeout",
    "NOT_FOUND": "has no such model",
    "RESOURCE_EXHAUSTED": "takes no message of this size",
    "UNIMPLEMENTED": "is no PredictionService of TensorFlow Serving",
    "INVALID_ARGUMENT": "refused the images",
    "UNTRUSTED": "has a certificate that is not trusted, see --ca",
}
MISREAD = (ValueError, LookupError, TypeError, AttributeError, RecursionError, DecodeError)
"""What reading an answer raises that is not TensorFlow Serving's."""


def refusal(place: str, model: str, signature: str, code: str, details: str) -> InputError:
    """The error for one of gRPC's status codes, by name, and what the server says of it."""
    printable = "".join(character if character.isprintable() else " " for character in details)
    details = " ".join(printable.split())[:300]
    unknown = "signature" in details.lower() and "not found" in details.lower()
    if code == "UNAVAILABLE" and "CERTIFICATE_VERIFY_FAILED" in details.upper().replace(" ", "_"):
        code = "UNTRUSTED"
    cause = (
        f"its model has no signature {signature!r}: was it written by fire_tf.export?"
        if unknown
        else _EXPLAINED.get(code, f"failed with {code}")
    )
    return InputError(f"{place}, model {model!r}: {cause} ({details})")


def read_answer(
    place: str, model: str, signature: str, wanted: Sequence[str], read: Callable[[], dict[str, Value]]
) -> dict[str, Value]:
    """What an answer holds; raises InputError for one that is not TensorFlow Serving's, or lacks what is wanted."""
    try:
        found = read()
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ValueError(f"its answer lacks {', '.join(missing)}")
    except MISREAD as error:
        said = f"{type(error).__name__}: {error}"
        raise refusal(place, model, signature, "UNIMPLEMENTED", said) from error
    return found
