"""The steps of a calibration, as Prefect shows them."""

from prefect import get_run_logger, task

from aletheia.errors import InvalidTask, Misconfigured
from aletheia.items.calibration import DUPLICATE_AT, GREY_FROM, GREY_TO, Calibration, calibrate
from tasks.artifacts import save_markdown
from tasks.clients.content import get_calibrations
from tasks.clients.embedding import get_item_embedder, get_item_embedding
from tasks.policies import STEP

MEANINGS = {
    GREY_FROM: "the grey zone begins",
    DUPLICATE_AT: "two items are the same",
    GREY_TO: "the grey zone ends",
}


async def choose_model(model: str | None) -> str:
    """Return the model that was named, or by default the one that embeds items.

    Raises:
        Misconfigured: the mock embeds, whose vectors have no meaning.
        InvalidTask: `unsupported_model`.
    """
    embedder = await get_item_embedder()
    if embedder.is_mock:
        reason = "the mock embeds, and nothing can be fitted to vectors that mean nothing"
        raise Misconfigured("PROCESSING_MODE", reason)
    return embedder.canonical_model(model)


@task(name="fit_model", task_run_name="fit-{model}", **STEP)
async def fit_model(model: str) -> Calibration:
    """Fit the scale to labelled pairs. Raises `InvalidTask`: `not_calibrated`; it cannot be."""
    try:
        return await calibrate(model, await get_item_embedding(model))
    except ValueError as hopeless:
        message = f"{model} cannot tell the labelled pairs apart: {hopeless}"
        raise InvalidTask("not_calibrated", message) from hopeless


@task(name="save_calibration", task_run_name="save-{calibration.model}", **STEP)
async def save_calibration(calibration: Calibration) -> None:
    """Save a calibration for later gather runs."""
    await (await get_calibrations()).save(calibration)
    at = calibration.to_cosine(DUPLICATE_AT)
    get_run_logger().info("%s: duplicates from a raw cosine of %.4f", calibration.model, at)


@task(name="show_calibration", task_run_name="show", **STEP)
async def show_calibration(calibration: Calibration) -> None:
    """Save a page with the scale and its accuracy as an artifact of the run."""
    description = f"The scale of similarity of {calibration.model}."
    await save_markdown("calibration", describe(calibration), description)


def describe(calibration: Calibration) -> str:
    """Describe a fitted calibration as markdown."""
    at = calibration.to_cosine(DUPLICATE_AT)
    splits = [("fitted on", calibration.fitted), ("tested on", calibration.tested)]
    head = (
        f"Items that `{calibration.model}` embeds are the same from a raw cosine of **{at:.4f}**, "
        f"which is {DUPLICATE_AT:.2f} on the scale. Gather runs that begin from now on take it."
    )
    return "\n".join(
        [
            head,
            "",
            "| split | pairs | duplicates | precision | recall | F1 |",
            "|---|---|---|---|---|---|",
            *(
                f"| {name} | {accuracy.pairs} | {accuracy.duplicates} | {accuracy.precision:.3f} "
                f"| {accuracy.recall:.3f} | {accuracy.f1:.3f} |"
                for name, accuracy in splits
                if accuracy is not None
            ),
            "",
            "| similarity | raw cosine | |",
            "|---|---|---|",
            *(
                f"| {score:.2f} | {cosine:.4f} | {MEANINGS.get(score, '')} |"
                for cosine, score in calibration.knots
            ),
            "",
            f"Labelled pairs: `{calibration.labels[:12]}`.",
        ]
    )
