"""An analysis: a question asked of a trained model, with its options. Free of torch."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from tightbound.analysis.result import Result
from tightbound.core.errors import COUNT, InputError, whole
from tightbound.core.limits import PASSES

if TYPE_CHECKING:
    from tightbound.data import Data, Split
    from tightbound.data.given import Source
    from tightbound.trained import Trained

P = ParamSpec("P")
R = TypeVar("R", bound=Result, covariant=True)


def option(
    default: Any = MISSING,
    *,
    least: int | None = None,
    most: float = COUNT,
    passes: bool = False,
    choices: tuple[str, ...] = (),
    short: str | None = None,
    metavar: str | None = None,
    variant: bool = False,
    **more: bool,
) -> Any:
    """Return a field of an analysis that is more than a value with a default.

    Args:
        default: Default value; without one the option is required.
        least: Smallest value of a whole number; None is allowed if it is the default.
        most: Largest value of a whole number.
        passes: Whether each example takes this many passes through the networks; several such options multiply.
        choices: The values that are allowed.
        short: Short name of the flag, such as "-n".
        metavar: What the help shows for a value.
        variant: A run does not record the answer for other values than the default.
        **more: `positional`: without a flag; `runs`: the values are runs.
    """
    flag = {"metavar": metavar} if metavar else {}
    flag |= {"aliases": [short], "metavar": metavar or "INT"} if short else {}
    return field(
        default=default,
        metadata={
            "least": least,
            "most": most,
            "passes": passes,
            "choices": choices,
            "variant": variant,
            "flag": flag,
            **more,
        },
    )


@dataclass(frozen=True)
class Subject:
    """The data that an analysis is asked about.

    Attributes:
        examples: Examples that the question is about, such as the test split.
        data: The training data, with the domain, column names and labels; None: unknown.
        name: Name of the examples, for captions: "digits (test)".
        given: Whether they are examples that a user gave, instead of the model's own data.
    """

    examples: Split
    data: Data | None
    name: str = "the examples"
    given: bool = False

    def at_most(self, max_examples: int) -> Subject:
        """Return the same with at most so many examples, picked at random."""
        import numpy as np

        from tightbound.data import Indexed

        if not isinstance(self.examples, Indexed) or len(self.examples) <= max_examples:
            return self
        pick = np.random.default_rng(0).permutation(len(self.examples))[:max_examples]  # data may be sorted
        return replace(self, examples=self.examples.subset(np.sort(pick)))

    def marked(self, result: R) -> R:
        """Return a result whose values per example say how many entries the model could not hold, if there are any."""
        index = result.per_example.get("index")
        unknown = None
        if index is not None:
            import torch

            unknown = self.examples.unknown_entries(torch.from_numpy(index))
        if unknown is None:
            return result
        return replace(result, per_example={**result.per_example, "unknown_entries": unknown})

    @property
    def training_data(self) -> Data:
        """The training data.

        Raises:
            InputError: If they are not known.
        """
        if self.data is None:
            raise InputError("this analysis needs the training data, which this model does not know; pass train=")
        return self.data

    @property
    def train(self) -> Split:
        """Training split; raises InputError if it is not known."""
        return self.training_data.train


@dataclass(frozen=True, kw_only=True)
class Analysis(ABC, Generic[R]):
    """A question asked of a trained model. Its fields are the options.

    Subclass it as a frozen, keyword-only dataclass: one class in one file, whose imports of torch happen inside `run`,
    and one line in `tightbound.analysis.table`. From these follow a method of `Trained`, a subcommand with a flag for
    each option, the JSON, the record in the run's folder and a section of the report page.
    """

    name: ClassVar[str]
    """Name of the command and of the JSON record, "inference-gap"; with underscores, of the method."""
    question: ClassVar[str]
    """The question, in one line: "How loose is the bound?"."""
    group: ClassVar[str] = "judge"
    """Group of commands in the help: "look", "judge" or "share"."""
    splits: ClassVar[bool] = False
    """Whether it compares training with test data, so that no split can be chosen."""
    distributed: ClassVar[bool] = False
    """Whether several processes share the work."""
    reported: ClassVar[bool] = True
    """Whether the report page asks it when the run does not hold the answer yet."""
    fast: ClassVar[bool] = False
    """Whether it takes seconds, so that the page at the end of training has it."""
    per_example: ClassVar[bool] = False
    """Whether the result has values for each example."""
    whole: ClassVar[bool] = False
    """Whether the command covers all of the data that are given, even if a part was set aside for testing."""
    data: ClassVar[Literal["optional", "required", "named"]] = "optional"
    """Whether data must be given; "named": the command takes them as an option, not after the run."""
    own_training_data: ClassVar[bool] = False
    """Whether it compares the examples with the data that the model was trained on, whatever data are given."""

    seed: int = option(0, least=0, most=math.inf)
    """Random seed."""
    progress: bool = False
    """Show a progress bar on standard error."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise InputError for options out of range."""
        for f in fields(self):
            value, least, choices = getattr(self, f.name), f.metadata.get("least"), f.metadata.get("choices")
            if least is not None and not (value is None and f.default is None):
                whole(f.name, value, least=least, most=f.metadata["most"])
            if choices and value not in choices:
                raise InputError(f"{f.name} = {value!r}; needed: one of {', '.join(map(repr, choices))}")
        repeated = {f.name: int(getattr(self, f.name)) for f in fields(self) if f.metadata.get("passes")}
        if (total := math.prod(repeated.values())) > PASSES:
            given = " and ".join(f"{name} = {value:,}" for name, value in repeated.items())
            raise InputError(
                f"{given} would take {total:,} passes through the networks for each example; needed: at most {PASSES:,}"
            )

    @property
    def is_default(self) -> bool:
        """Whether the options that change what is measured have their default values, so that the run records it."""
        return all(getattr(self, f.name) == f.default for f in fields(self) if f.metadata.get("variant"))

    @property
    def options(self) -> Mapping[str, Any]:
        """Options by name, without `progress`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "progress"}

    @abstractmethod
    def run(self, trained: Trained, subject: Subject) -> R:
        """Answer the question.

        Args:
            trained: The model, in evaluation mode.
            subject: The data.

        Raises:
            InputError: If the data do not fit, or too few examples are given.
            CompositionError: If the question makes no sense for this model, with the reason.
        """


class Ask(Protocol[P, R]):
    """An analysis as a method of `Trained`."""

    def __call__(
        self, data: Source | None = None, train: Source | None = None, *args: P.args, **options: P.kwargs
    ) -> R:
        """Ask it of these data; see `Trained.analyze`."""
        ...


class question(Generic[P, R]):  # noqa: N801 - reads as a function in the table
    """Descriptor that turns an analysis class into a method of `Trained`, typed like its constructor."""

    def __init__(self, analysis: Callable[P, Analysis[R]]) -> None:
        self.analysis = analysis
        self.__doc__ = f"{getattr(analysis, 'question', '')}\n\n{analysis.__doc__ or ''}"

    @overload
    def __get__(self, trained: None, owner: type) -> question[P, R]: ...
    @overload
    def __get__(self, trained: object, owner: type) -> Ask[P, R]: ...
    def __get__(self, trained: Any, owner: type) -> Any:
        if trained is None:
            return self

        def ask(data: Any = None, train: Any = None, **options: Any) -> Result:
            return trained.analyze(self.analysis(**options), data, train)  # pyright: ignore[reportCallIssue]

        ask.__doc__ = self.__doc__
        ask.__name__ = getattr(self.analysis, "name", "analysis").replace("-", "_")
        own, options = inspect.signature(ask), inspect.signature(self.analysis)
        given = [own.parameters[name] for name in ("data", "train")]
        ask.__signature__ = own.replace(parameters=[*given, *options.parameters.values()])  # pyright: ignore
        return ask
