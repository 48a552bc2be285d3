"""What can be done with text: interchangeable tasks, a row each."""

from __future__ import annotations

from typing import Any

from encoderkit.lazy import Entry
from encoderkit.options import PredictOptions
from encoderkit.spec import TextTaskName
from encoderkit.tasks.task import Model, TextTask

TEXT_TASKS: dict[TextTaskName, Entry] = {
    "question-answering": Entry(
        target="encoderkit.tasks.question_answering:QuestionAnswering",
        summary="the span of a context that answers a question",
    ),
    "text-classification": Entry(
        target="encoderkit.tasks.text_classification:TextClassification",
        summary="the class of a text or of a pair of texts",
    ),
    "token-classification": Entry(
        target="encoderkit.tasks.token_classification:TokenClassification",
        summary="the entities in a text",
    ),
    "fill-mask": Entry(
        target="encoderkit.tasks.fill_mask:FillMask", summary="what fits where a text is masked"
    ),
    "feature-extraction": Entry(
        target="encoderkit.tasks.embeddings:FeatureExtraction",
        summary="the vector of a text or of its tokens",
    ),
    "sentence-similarity": Entry(
        target="encoderkit.tasks.embeddings:SentenceSimilarity", summary="how close two texts are"
    ),
    "rerank": Entry(
        target="encoderkit.tasks.rerank:Rerank", summary="documents in the order of how well they fit a query"
    ),
}


def make_task(name: TextTaskName, model: Model, options: PredictOptions) -> TextTask[Any, Any]:
    """The task called `name`, done with `model`."""
    made: TextTask[Any, Any] = TEXT_TASKS[name].load()(model, options)
    return made
