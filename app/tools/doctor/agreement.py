"""The check that the workers of a model are alike: the gateway never mixes scores of different models."""

from collections import defaultdict
from collections.abc import Sequence

from app.policy.model_change import distance, same_weights
from app.tools.doctor.findings import Findings
from app.tools.doctor.worker_checks import Worker

# Repeats of a call differ by less; half precision by more.
_ALIKE = 1e-3
# What two workers differ in, and what to do.
_PRECISION = ("another precision", "start both with the same --dtype; float32 is the exact one")
_WEIGHTS = (
    "other weights",
    "start both with the same weights and --revision; only the largest group that agrees is used",
)
_TRAITS = ("root", "max_model_len", "version")


def check_agreement(workers: Sequence[Worker], default_model: str | None, found: Findings) -> None:
    """Compare all workers that answered."""
    by_model: defaultdict[str, list[Worker]] = defaultdict(list)
    for worker in workers:
        if worker.serves:
            by_model[worker.serves.model].append(worker)
    _check_names(sorted(by_model), default_model, found)
    for model, alike in sorted(by_model.items()):
        if len(alike) > 1:
            _check_traits(model, alike, found)
            _check_scores(model, [worker for worker in alike if worker.scores], found)


def _check_names(models: Sequence[str], default_model: str | None, found: Findings) -> None:
    """Check that several models have a default, since Milvus names none."""
    if len(models) > 1 and default_model is None:
        fix = "set RERANK_DEFAULT_MODEL, or add ?model=NAME to endpoints; one model needs one --served-model-name"
        found.yellow("workers-agree", f"workers serve several models ({', '.join(models)}), and Milvus names none", fix)
    elif len(models) > 1 and default_model not in models:
        fix = f"set RERANK_DEFAULT_MODEL to one of {', '.join(models)}"
        found.yellow("workers-agree", f"no worker serves {default_model} under this name", fix)


def _check_traits(model: str, workers: Sequence[Worker], found: Findings) -> None:
    values = {trait: {str(getattr(worker.serves, trait)) for worker in workers} for trait in _TRAITS}
    differing = [f"{trait} ({', '.join(sorted(each))})" for trait, each in values.items() if len(each) > 1]
    if differing:
        fix = "start all with one path, --max-model-len and release: only the largest group that agrees is used"
        found.yellow("workers-agree", f"workers of {model} differ in {' and '.join(differing)}", fix)
    else:
        seen = f"{len(workers)} workers serve {model} from one root, with one length and version"
        found.green("workers-agree", seen)


def _check_scores(model: str, workers: Sequence[Worker], found: Findings) -> None:
    if len(workers) < 2:  # noqa: PLR2004 - one has nobody to differ from
        return
    first, *others = workers
    apart = [(other, gap) for other in others if (gap := distance(first.scores, other.scores)) > _ALIKE]
    if not apart:
        found.green("workers-scores", f"all workers of {model} give the same scores")
    for other, gap in apart:
        cause, fix = _PRECISION if same_weights(first.scores, other.scores) else _WEIGHTS
        seen = f"{first.link.name} and {other.link.name} differ by {gap:.3f} in their scores of {model}: {cause}"
        found.yellow("workers-scores", seen, fix)
