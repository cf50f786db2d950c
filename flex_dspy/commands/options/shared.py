"""Sets of options that several commands share, as frozen dataclasses; the docstring of a field is its help.

Annotations are objects here and no strings: those of a base class must mean the same in the module of a subclass.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from flex_dspy.commands.arguments import (
    Overlap,
    Pairs,
    Positive,
    Prices,
    Scopes,
    Strategy,
    Temperatures,
    TokenCounts,
    Weight,
    Whole,
    check,
    default_of,
    read_roles,
    read_whole,
)
from flex_dspy.evaluation.settings import MeasuringSettings
from flex_dspy.models.settings import Backend, ModelSettings
from flex_dspy.search.settings import RetrievalSettings

# The help shows the groups in the order in which they are made.
DATA = Group.create_ordered("Data")
REQUESTS = Group.create_ordered("Requests")
LEARNING = Group.create_ordered("Learning")
MEASURING = Group.create_ordered("Measuring")
PRUNING = Group.create_ordered("Pruning")
RUN = Group.create_ordered("Run")
OUTPUT = Group.create_ordered("Output")
MODELS = Group.create_ordered("Models")
ACTOR = Group.create_ordered("Actor")
RETRIEVAL = Group.create_ordered("Retrieval")
BUDGET = Group.create_ordered("Budget")
CLUSTER = Group.create_ordered("Cluster")
TRACKING = Group.create_ordered("Tracking")
GENERAL = Group.create_ordered("General")

Config = Annotated[
    Path | None,
    Parameter(name="--config", group=GENERAL, help="TOML or YAML file of options. It yields to the command line."),
]


@Parameter(name="*", group=MODELS)
@dataclass(frozen=True)
class ModelOptions:
    """The models and how they are reached."""

    lm: str = default_of(ModelSettings, "name")
    """'offline' (no key, no network) or a model string such as openai/gpt-4o."""
    actor_lm: str | None = None
    """Another model for the actor."""
    api_base: str | None = None
    """Address of an OpenAI-compatible server."""
    backend: Backend = default_of(ModelSettings, "backend")
    """How models are reached: by DSPy itself, or through litellm (auto: as DSPy prefers)."""
    temperature: Temperatures = ()
    """Sampling temperature: a number, or ROLE=NUMBER. May be repeated."""
    max_tokens: TokenCounts = ()
    """Most tokens of one answer: a number, or ROLE=NUMBER. May be repeated."""
    cache: Annotated[bool, Parameter(negative="--no-cache")] = True
    """Take answers from DSPy's cache."""
    batch: Annotated[str, Parameter(validator=check(read_roles))] = ""
    """Roles, such as critic,updater, that are asked through the provider's batch endpoint: half the price, slowly."""
    rpm: Positive | None = None
    """Most requests a minute. Calls wait for their turn."""
    tpm: Positive | None = None
    """Most tokens a minute. Calls wait for their turn."""
    timeout: float = default_of(ModelSettings, "timeout")
    """Seconds to wait for an answer."""
    retries: Whole = default_of(ModelSettings, "retries")
    """Further tries of a call that failed."""


@Parameter(name="*", group=MODELS)
@dataclass(frozen=True)
class TeacherOptions:
    """The models of the roles that teach."""

    verifier_lm: str | None = None
    """Another model for the verifier."""
    critic_lm: str | None = None
    """Another model for the critic."""
    updater_lm: str | None = None
    """Another model for the updater."""


@Parameter(name="*", group=ACTOR)
@dataclass(frozen=True)
class ActorOptions:
    """How the actor works."""

    actor: Strategy = "cot"
    """One call; worked examples in context; reasoning first; tools; tools and Python."""
    experience: Literal["prefetch", "recall", "both", "levels", "none"] = "prefetch"
    """In the prompt; by a tool that react and code actors call; both; level by level; none."""
    shots: Positive = 8
    """Examples of icl."""
    instructions: Pairs = ()
    """ROLE=FILE: instructions of a role, or of one of the critic's four (critic.golden=FILE). May be repeated."""
    concurrency: Positive = default_of(MeasuringSettings, "concurrency")
    """Examples under way at once."""
    seed: Whole = 0
    """Order and choice of examples."""


@Parameter(name="*", group=RETRIEVAL)
@dataclass(frozen=True)
class RetrievalOptions:
    """What of the library reaches a prompt."""

    retrieve: Annotated[bool, Parameter(negative="--no-retrieve")] = True
    """Show experiences to the actor; --no-retrieve is the same as --experience none."""
    k: Positive | None = None
    """Most experiences in a prompt."""
    depth: Positive | None = None
    """Precedents or entries that a view ranks."""
    token_budget: Positive | None = None
    """Most tokens of experience."""
    utility: Weight = default_of(RetrievalSettings, "utility")
    """How much the measured effect of an entry counts beside its fit (0: not at all)."""
    explore: Annotated[int | None, Parameter(converter=read_whole)] = None
    """Seed: rank by a draw from what is known about each entry's effect, so that new entries are tried."""
    scope: Scopes = ()


@Parameter(name="*", group=BUDGET)
@dataclass(frozen=True)
class BudgetOptions:
    """What may be spent."""

    budget_usd: float | None = None
    """Stop when this many US dollars are spent."""
    budget_tokens: Positive | None = None
    """Stop when this many tokens are spent."""
    price: Prices = ()
    """MODEL=IN,OUT: a model's price in USD a million tokens, instead of the list price. May be repeated."""


@Parameter(name="*", group=CLUSTER)
@dataclass(frozen=True)
class ClusterOptions:
    """Where programs run."""

    cluster: Annotated[str | None, Parameter(env_var="DASK_SCHEDULER_ADDRESS")] = None
    """Run on a Dask cluster: tcp://HOST:PORT, or local:N for N processes here. It changes speed, never the result."""


@Parameter(name="*", group=TRACKING)
@dataclass(frozen=True)
class TrackingOptions:
    """Where MLflow keeps versions and evaluations."""

    tracking_uri: str | None = None
    """MLflow store (default: MLflow's own)."""
    experiment: str | None = None
    """MLflow experiment (default: flex-TASK)."""
    tracking: Annotated[bool, Parameter(negative="--no-tracking")] = True
    """Log to MLflow."""
    log_examples: Annotated[bool, Parameter(negative="--no-log-examples")] = True
    """Log the problems, references and answers of validation examples. Without it MLflow gets their ids and scores."""


@Parameter(name="*")
@dataclass(frozen=True)
class ActorRun:
    """The options of a command that runs an actor on examples."""

    models: ModelOptions = ModelOptions()
    actor: ActorOptions = ActorOptions()
    retrieval: RetrievalOptions = RetrievalOptions()
    budget: BudgetOptions = BudgetOptions()
    cluster: ClusterOptions = ClusterOptions()
    tracking: TrackingOptions = TrackingOptions()
    quiet: Annotated[bool, Parameter(group=GENERAL)] = False
    """Show no progress bars."""
    config: Config = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that the actor reads besides the shared entries."""
        return self.retrieval.scope


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class ExampleOptions:
    """The examples to measure on."""

    data: Annotated[str | None, Parameter(name=("--data", "--val"))] = None
    """Examples: a split, a file (csv, jsonl, parquet, .gz) or a hub id (default: val)."""
    samples: Positive | None = None
    """Measure on a random N of them."""
    overlap: Overlap = "drop"
    """Measured examples that were learned from: leave them out, stop, or keep them."""
