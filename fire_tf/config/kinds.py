"""What keys hold: types for pydantic that turn nothing into a number that is none (``true``, "3" and 1.5 are no 1)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError

from fire_tf.files.paths import expanded

T = TypeVar("T", bound=float)


def expected(words: str, admits: Callable[[Any], bool]) -> AfterValidator:
    """A constraint of our own; the line that refuses a value says that ``words`` were expected."""

    def check(value: Any) -> Any:
        if not admits(value):
            raise PydanticCustomError("expected", "{words}", {"words": words})
        return value

    return AfterValidator(check)


def within(low: float, high: float) -> AfterValidator:
    """A number from ``low`` to ``high``, both of which it may be."""
    return expected(f"a number in [{low:g}, {high:g}]", lambda value: low <= value <= high)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _rises(pair: Sequence[float]) -> bool:
    return pair[0] <= pair[1]


UserPath = Annotated[str, AfterValidator(expanded)]
"""A path in which ``~`` is the home folder."""

Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Count = Annotated[Whole, Field(ge=1)]
Natural = Annotated[Whole, Field(ge=0)]
Number = Annotated[float, Strict()]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, within(0, 1)]
Degrees = Annotated[Number, within(0, 180)]
Shear = Annotated[Number, within(-1, 1)]
Voxels = Annotated[Whole, expected("a positive multiple of 4", lambda value: value > 0 and value % 4 == 0)]
"""The length of a canvas: G halves it twice."""

Range = Annotated[tuple[T, T], expected("[low, high] with low <= high", _rises)]
PerAxis = Annotated[tuple[T, ...], BeforeValidator(_as_list)]
"""One value per axis; a single one may stand for a list of one."""
