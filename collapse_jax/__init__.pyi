"""The public names, and where each is; `__init__.py` reads them here."""

from collapse_jax import tasks, theory
from collapse_jax.analysis.comparisons import compare
from collapse_jax.analysis.definitions import Diagnosis, diagnose
from collapse_jax.analysis.exponents import slopes
from collapse_jax.analysis.judged import Judged
from collapse_jax.analysis.times import collapse_time
from collapse_jax.analysis.verdicts import verdict
from collapse_jax.cli.study.running import run_study
from collapse_jax.language import corpora as corpus
from collapse_jax.language.grids import real_synthetic_grid
from collapse_jax.language.model.lora import LoRA
from collapse_jax.language.samples import with_samples
from collapse_jax.language.saved_models import models
from collapse_jax.language.task import LanguageModel
from collapse_jax.literature.registry import papers, reproduce
from collapse_jax.loop.curation.detector import Detector
from collapse_jax.loop.curation.operators import (
    AbstractOperator,
    Accept,
    BestOf,
    Filter,
    Nearest,
    Threshold,
    Verify,
)
from collapse_jax.loop.ecosystems.description import Ecosystem
from collapse_jax.loop.generation import rollout
from collapse_jax.loop.presets import Accumulate, AccumulateSubsample, Replace
from collapse_jax.loop.sources import Edit, Extrapolated, Latest, Mixed, Past
from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow
from collapse_jax.machines import hosts
from collapse_jax.machines.devices import keep_compiled_programs, use_all_cores
from collapse_jax.numerics import distances
from collapse_jax.records import config
from collapse_jax.records.inspection import inspect_folder
from collapse_jax.report.figures import plot
from collapse_jax.report.generations import animate_generations, plot_generations
from collapse_jax.report.page.writing import write_report
from collapse_jax.report.paper import table
from collapse_jax.report.plans import plot_plan
from collapse_jax.report.tables import summary
from collapse_jax.run.before.memory import needs
from collapse_jax.run.on_host.albums import Album
from collapse_jax.run.reruns import rerun
from collapse_jax.run.simulation import simulate
from collapse_jax.run.stopping import Above, Below
from collapse_jax.run.sweeps import sweep
from collapse_jax.studies.datamodels import datamodel
from collapse_jax.studies.ensembles import ensemble
from collapse_jax.studies.exchange import worth
from collapse_jax.studies.stability import sensitivity
from collapse_jax.studies.unlearning import unlearn
from collapse_jax.tasks import (
    AbstractSufficient,
    AbstractTask,
    AbstractTrained,
    Categorical,
    ExponentialFamily,
    Gaussian,
    GaussianMixture,
    KernelDensity,
    LinearRegression,
    LogisticRegression,
    NGram,
    Variable,
)
from collapse_jax.trained import Autoencoder, Diffusion, Flow, GroupClassifier, Tabular

__version__: str

__all__ = [
    "Above",
    "AbstractOperator",
    "AbstractSufficient",
    "AbstractTask",
    "AbstractTrained",
    "Accept",
    "Accumulate",
    "AccumulateSubsample",
    "Album",
    "Autoencoder",
    "Below",
    "BestOf",
    "Categorical",
    "Detector",
    "Diagnosis",
    "Diffusion",
    "Ecosystem",
    "Edit",
    "ExponentialFamily",
    "Extrapolated",
    "Filter",
    "Fit",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "GroupClassifier",
    "Judged",
    "KernelDensity",
    "LanguageModel",
    "Latest",
    "LinearRegression",
    "LoRA",
    "LogisticRegression",
    "Mixed",
    "NGram",
    "Nearest",
    "Past",
    "Real",
    "Replace",
    "Synthetic",
    "Tabular",
    "Threshold",
    "Variable",
    "Verify",
    "Workflow",
    "animate_generations",
    "collapse_time",
    "compare",
    "config",
    "corpus",
    "datamodel",
    "diagnose",
    "distances",
    "ensemble",
    "hosts",
    "inspect_folder",
    "keep_compiled_programs",
    "models",
    "needs",
    "papers",
    "plot",
    "plot_generations",
    "plot_plan",
    "real_synthetic_grid",
    "reproduce",
    "rerun",
    "rollout",
    "run_study",
    "sensitivity",
    "simulate",
    "slopes",
    "summary",
    "sweep",
    "table",
    "tasks",
    "theory",
    "unlearn",
    "use_all_cores",
    "verdict",
    "with_samples",
    "worth",
    "write_report",
]
