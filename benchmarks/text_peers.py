"""From text to results: encoderkit and what else there is, each as a function of the items.

Candidates are made in processes of their own (text_worker.py), the peers' ones with another environment:
nothing but the standard library is imported before a candidate is made, and of this project nothing but by
the candidate `encoderkit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.text_answers import LONGEST, MAX_ANSWER, STRIDE, question_answers, windows

BATCH = 32

Answer = Callable[[list[Any]], Any]
FEATURES, QUESTIONS, CLASSES = "feature-extraction", "question-answering", "text-classification"
ALL_TASKS = (FEATURES, QUESTIONS, CLASSES)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a candidate is made for.

    Attributes:
        model: what `encoderkit.load` takes.
        folder: the checkpoint.
        work: where converted models are kept.
        batch: texts or windows in a batch, for candidates that have them.
    """

    task: str
    model: str
    folder: Path
    threads: int
    work: Path
    batch: int = BATCH


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A candidate.

    Attributes:
        make: gives the function from items to results: (items, size) float32 embeddings, the answers' texts,
            or the labels.
        environment: `main`, or `peers`, whose packages need transformers before 5.
        shown: its name in tables.
        tasks: what it can be used for.
        packages: whose versions are noted.
        sorts: whether it sorts items by length before it cuts batches.
    """

    make: Callable[[Job], Answer]
    environment: str
    shown: str
    tasks: tuple[str, ...] = ALL_TASKS
    packages: tuple[str, ...]
    batch: int = BATCH
    sorts: bool = False


def encoderkit(job: Job) -> Answer:
    """`encoderkit.load(...).predict(...)`."""
    from encoderkit import PredictOptions, load

    options = PredictOptions(model=job.model, task=job.task, max_length=LONGEST, workdir=job.work)  # type: ignore[arg-type]
    predictor = load(options)
    read: Callable[[Any], Any] = {
        FEATURES: lambda answer: answer.values,
        QUESTIONS: lambda answer: answer.best.answer,
        CLASSES: lambda answer: answer.label,
    }[job.task]

    def answer(items: list[Any]) -> Any:
        found = [read(prediction.answer) for prediction in predictor.predict(items)]
        return stacked(found) if job.task == FEATURES else found

    return answer


def transformers_pipeline(job: Job) -> Answer:
    """transformers' pipeline with its own model, in batches."""
    import torch
    import transformers

    torch.set_num_threads(job.threads)
    made = {
        FEATURES: transformers.AutoModel,
        QUESTIONS: transformers.AutoModelForQuestionAnswering,
        CLASSES: transformers.AutoModelForSequenceClassification,
    }[job.task]
    return pipeline(job, made.from_pretrained(job.folder, dtype=torch.float32).eval())


def optimum_openvino(job: Job) -> Answer:
    """The pipeline with optimum's OpenVINO model, told float32 and the threads."""
    from optimum import intel

    made = {
        FEATURES: intel.OVModelForFeatureExtraction,
        QUESTIONS: intel.OVModelForQuestionAnswering,
        CLASSES: intel.OVModelForSequenceClassification,
    }[job.task]
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(job.threads)}
    return pipeline(job, made.from_pretrained(job.folder, export=True, ov_config=settings))


def optimum_onnxruntime(job: Job) -> Answer:
    """The pipeline with optimum's ONNX Runtime model."""
    import onnxruntime
    from optimum import onnxruntime as optimum

    made = {
        FEATURES: optimum.ORTModelForFeatureExtraction,
        QUESTIONS: optimum.ORTModelForQuestionAnswering,
        CLASSES: optimum.ORTModelForSequenceClassification,
    }[job.task]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    return pipeline(job, made.from_pretrained(job.folder, export=True, session_options=options))


def pipeline(job: Job, model: Any) -> Answer:
    """A pipeline's call for each task."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(job.folder)
    settings: dict[str, Any] = {"model": model, "tokenizer": tokenizer, "batch_size": job.batch}
    if job.task == FEATURES:
        made = transformers.pipeline(FEATURES, pipeline_class=sentence_pipeline(), **settings)
        return lambda items: stacked(made(items))
    made = transformers.pipeline(job.task, **settings)
    if job.task == CLASSES:
        return lambda items: [found["label"] for found in made(items)]
    asked = {"max_seq_len": LONGEST, "doc_stride": STRIDE, "max_answer_len": MAX_ANSWER}
    # Answers as the model gives them, not widened to whole words.
    return lambda items: [found["answer"] for found in made(items, align_to_words=False, **asked)]


def sentence_pipeline() -> Any:
    """transformers' feature extraction with all-MiniLM-L6-v2's pooling behind the model."""
    import torch
    from transformers import FeatureExtractionPipeline

    class SentencePipeline(FeatureExtractionPipeline):  # type: ignore[misc]
        def _forward(self, model_inputs: Any) -> Any:
            hidden = self.model(**model_inputs)[0]
            mask = model_inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return {"embedding": torch.nn.functional.normalize(mean, dim=1)}

        def postprocess(self, model_outputs: Any, **settings: Any) -> Any:
            return model_outputs["embedding"][0].numpy()

    return SentencePipeline


def transformers_example(job: Job) -> Answer:
    """Question answering with transformers' model, and around it what its example does: windows in batches,
    padded to the longest, and the best span of the most likely starts and ends."""
    import torch
    import transformers

    torch.set_num_threads(job.threads)
    made = transformers.AutoModelForQuestionAnswering
    model = made.from_pretrained(job.folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.folder)

    def run(features: Sequence[dict[str, Any]]) -> Iterator[tuple[Any, Any]]:
        for begin in range(0, len(features), job.batch):
            batch = [
                {name: each[name] for name in ("input_ids", "token_type_ids")}
                for each in features[begin : begin + job.batch]
            ]
            with torch.inference_mode():
                found = model(**tokenizer.pad(batch, return_tensors="pt"))
            yield from zip(found.start_logits.numpy(), found.end_logits.numpy(), strict=True)

    return lambda items: question_answers(items, windows(tokenizer, items), run)


def ctranslate2(job: Job) -> Answer:
    """CTranslate2's encoder on all threads, one batch at a time."""
    return _ctranslate2(job, at_once=1)


def ctranslate2_parallel(job: Job) -> Answer:
    """As many batches at once as there are threads, each on one."""
    return _ctranslate2(job, at_once=job.threads)


def _ctranslate2(job: Job, at_once: int) -> Answer:
    """Batches sorted by length; tokenizer, pooling and head around the encoder by hand."""
    import ctranslate2 as library
    import numpy as np
    import transformers
    from ctranslate2.converters import TransformersConverter
    from safetensors.numpy import load_file

    converted = job.work / f"ctranslate2-{job.folder.name}-{job.task}"
    if not converted.is_dir():
        TransformersConverter(str(job.folder)).convert(str(converted))
    threads = {"inter_threads": at_once, "intra_threads": job.threads // at_once}
    encoder = library.Encoder(str(converted), device="cpu", compute_type="float32", **threads)
    pool = ThreadPoolExecutor(at_once)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.folder)
    weights = load_file(job.folder / "model.safetensors")
    head = {FEATURES: None, QUESTIONS: "qa_outputs", CLASSES: "classifier"}[job.task]
    matrix, bias = (
        (weights[f"{head}.{part}"].astype(np.float32) for part in ("weight", "bias"))
        if head
        else (None, None)
    )

    def run(features: Sequence[dict[str, Any]]) -> list[Any]:
        order = sorted(range(len(features)), key=lambda index: -len(features[index]["input_ids"]))
        results: list[Any] = [None] * len(features)

        def execute(begin: int) -> None:
            chosen = order[begin : begin + job.batch]
            ids = [features[index]["input_ids"] for index in chosen]
            types = [features[index]["token_type_ids"] for index in chosen]
            found = encoder.forward_batch(ids, token_type_ids=types)
            outputs = np.array(found.pooler_output if job.task == CLASSES else found.last_hidden_state)
            if matrix is not None:
                outputs = outputs @ matrix.T + bias
            for index, own, values in zip(chosen, ids, outputs, strict=True):
                results[index] = values if job.task == CLASSES else values[: len(own)]

        list(pool.map(execute, range(0, len(order), job.batch)))
        return results

    def spans(features: Sequence[dict[str, Any]]) -> Iterator[tuple[Any, Any]]:
        yield from ((logits[:, 0], logits[:, 1]) for logits in run(features))

    if job.task == QUESTIONS:
        return lambda items: question_answers(items, windows(tokenizer, items), spans)
    labels = json.loads((job.folder / "config.json").read_text()).get("id2label", {})

    def answer(items: list[str]) -> Any:
        encoded = tokenizer(items, truncation=True, max_length=LONGEST)
        types = zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
        results = run([{"input_ids": ids, "token_type_ids": own} for ids, own in types])
        if job.task == CLASSES:
            return [labels[str(int(logits.argmax()))] for logits in results]
        means = [hidden.mean(0) for hidden in results]
        return stacked([mean / np.linalg.norm(mean) for mean in means])

    return answer


def sentence_transformers(job: Job) -> Answer:
    """SentenceTransformer.encode, PyTorch behind it."""
    return _encode(job, {})


def sentence_transformers_openvino(job: Job) -> Answer:
    """SentenceTransformer.encode, optimum's OpenVINO model behind it, told float32 and the threads."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(job.threads)}
    return _encode(job, {"backend": "openvino", "model_kwargs": {"ov_config": settings, "export": True}})


def _encode(job: Job, settings: dict[str, Any]) -> Answer:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(job.threads)
    model = SentenceTransformer(str(job.folder), device="cpu", **settings)
    # all-MiniLM-L6-v2 says 256, where these texts go up to 384.
    model.max_seq_length = LONGEST
    return lambda items: model.encode(items, batch_size=job.batch, show_progress_bar=False)


def stacked(vectors: Sequence[Any]) -> Any:
    """(count, size) float32."""
    import numpy as np

    return np.stack(vectors)


OPTIMUM_OPENVINO = ("optimum-intel", "openvino", "transformers", "torch")
OPTIMUM_ONNXRUNTIME = ("optimum-onnx", "onnxruntime", "transformers", "torch")
PEERS: dict[str, Peer] = {
    "encoderkit": Peer(
        make=encoderkit, environment="main", shown="encoderkit", packages=("openvino", "tokenizers")
    ),
    "transformers": Peer(
        make=transformers_pipeline,
        environment="main",
        shown="transformers pipeline",
        tasks=(FEATURES, CLASSES),
        packages=("transformers", "torch", "tokenizers"),
    ),
    "transformers-example": Peer(
        make=transformers_example,
        environment="main",
        shown="transformers, its QA example",
        tasks=(QUESTIONS,),
        packages=("transformers", "torch", "tokenizers"),
    ),
    "transformers-4": Peer(
        make=transformers_pipeline,
        environment="peers",
        shown="transformers 4 pipeline",
        tasks=(QUESTIONS,),
        packages=("transformers", "torch", "tokenizers"),
    ),
    "sentence-transformers": Peer(
        make=sentence_transformers,
        environment="main",
        shown="sentence-transformers",
        tasks=(FEATURES,),
        packages=("sentence-transformers", "transformers", "torch"),
        sorts=True,
    ),
    "sentence-transformers-openvino": Peer(
        make=sentence_transformers_openvino,
        environment="peers",
        shown="sentence-transformers, OpenVINO backend",
        tasks=(FEATURES,),
        packages=("sentence-transformers", *OPTIMUM_OPENVINO),
        sorts=True,
    ),
    "optimum-openvino": Peer(
        make=optimum_openvino,
        environment="peers",
        shown="optimum OpenVINO pipeline",
        packages=OPTIMUM_OPENVINO,
    ),
    "optimum-openvino-1": Peer(
        make=optimum_openvino,
        environment="peers",
        shown="optimum OpenVINO pipeline, batch 1",
        packages=OPTIMUM_OPENVINO,
        batch=1,
    ),
    "optimum-onnxruntime": Peer(
        make=optimum_onnxruntime,
        environment="peers",
        shown="optimum ONNX Runtime pipeline",
        packages=OPTIMUM_ONNXRUNTIME,
    ),
    "optimum-onnxruntime-1": Peer(
        make=optimum_onnxruntime,
        environment="peers",
        shown="optimum ONNX Runtime pipeline, batch 1",
        packages=OPTIMUM_ONNXRUNTIME,
        batch=1,
    ),
    "ctranslate2": Peer(
        make=ctranslate2,
        environment="peers",
        shown="CTranslate2",
        packages=("ctranslate2", "transformers"),
        sorts=True,
    ),
    "ctranslate2-parallel": Peer(
        make=ctranslate2_parallel,
        environment="peers",
        shown="CTranslate2, a batch a thread",
        packages=("ctranslate2", "transformers"),
        sorts=True,
    ),
}
