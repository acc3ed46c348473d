"""The steps of a calibration, as Prefect shows them."""

import asyncio
import base64

from prefect import get_run_logger, task

from aletheia.adapters.reliability_picture import draw_reliability
from aletheia.errors import InvalidTask, Misconfigured
from aletheia.items.calibration import DUPLICATE_AT, Accuracy, Calibration
from aletheia.items.calibration_fitting import calibrate
from aletheia.items.similarity_fitting import MIN_PRECISION, NEAREST
from tasks.artifacts import code, save_markdown
from tasks.clients.content import get_calibrations
from tasks.clients.embedding import get_item_embedder, get_item_embedding
from tasks.policies import STEP


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
    get_run_logger().info("%s: %s", calibration.model, describe_threshold(calibration))


@task(name="show_calibration", task_run_name="show", **STEP)
async def show_calibration(calibration: Calibration) -> None:
    """Save a page with the scale, its accuracy and its reliability as artifacts of the run."""
    description = f"The scale of similarity of {code(calibration.model)}."
    await save_markdown("calibration", describe(calibration), description)
    if calibration.reliability:
        # In a thread: it takes a second, in which leases are renewed.
        picture = await asyncio.to_thread(
            draw_reliability, calibration.reliability, calibration.model
        )
        # Not as an image artifact: its page would show the whole data URL as text.
        url = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
        page = f"![What was said, and what was so]({url})"
        await save_markdown("calibration-reliability", page, "Reliability of the probabilities.")


def describe_threshold(calibration: Calibration) -> str:
    """Describe in a clause what is dropped without a judge."""
    if calibration.unjudged_from is None:
        return (
            f"no probability from {DUPLICATE_AT:.2f} on is right in {MIN_PRECISION:.0%} of the "
            "labelled pairs, so without a judge only the same words are dropped"
        )
    return (
        f"without a judge, items are dropped from a probability of {calibration.unjudged_from:.4f} "
        f"on, where {MIN_PRECISION:.0%} and more of the labelled pairs are repetitions"
    )


def describe(calibration: Calibration) -> str:
    """Describe a fitted calibration as markdown."""
    splits = [("fitted on", calibration.fitted), ("tested on", calibration.tested)]
    head = (
        f"Items that {code(calibration.model)} embeds are compared from a raw cosine of "
        f"**{calibration.min_cosine:.4f}** on; {describe_threshold(calibration)}. A judge decides "
        f"about the most probable pair of an item, from {calibration.judged_from:.3f} on; where "
        f"none does, pairs are listed from {calibration.grey_from:.2f} on. Gather runs that begin "
        "from now on take it."
    )
    page = [
        head,
        "",
        "| dropped without a judge | pairs | duplicates | precision | recall | F1 |",
        "|---|---|---|---|---|---|",
        *(_describe_split(name, accuracy) for name, accuracy in splits if accuracy is not None),
        "",
        f"Weighted as among an item's {NEAREST} nearest, of which one repeats it.",
        *_describe_reliability(calibration),
        *_describe_weights(calibration),
        "",
        "| similarity by the raw cosine alone | raw cosine |",
        "|---|---|",
        *(f"| {score:.2f} | {cosine:.4f} |" for cosine, score in calibration.knots),
        "",
        f"Labelled pairs: `{calibration.labels[:12]}`.",
    ]
    return "\n".join(page)


def _describe_split(name: str, accuracy: Accuracy) -> str:
    return (
        f"| {name} | {accuracy.pairs} | {accuracy.duplicates} | {accuracy.precision:.3f} "
        f"| {accuracy.recall:.3f} | {accuracy.f1:.3f} |"
    )


def _describe_reliability(calibration: Calibration) -> list[str]:
    if not calibration.reliability or calibration.calibration_error is None:
        return []
    return [
        "",
        (
            "Expected calibration error on the pairs that nothing is fitted on: "
            f"**{calibration.calibration_error:.4f}**."
        ),
        "",
        "| probability said | repetitions | pairs |",
        "|---|---|---|",
        *(
            f"| {found.probability:.3f} | {found.share:.3f} | {found.pairs} |"
            for found in calibration.reliability
        ),
    ]


def _describe_weights(calibration: Calibration) -> list[str]:
    if calibration.similarity is None:
        return []
    return [
        "",
        "| feature | mean | spread | adds to the logit a spread |",
        "|---|---|---|---|",
        *(
            f"| {weight.feature.replace('_', ' ')} | {weight.mean:.3f} | {weight.scale:.3f} "
            f"| {weight.weight:+.3f} |"
            for weight in calibration.similarity.weights
        ),
    ]
