"""Wire types of the rerank routes: the spellings of Jina, Cohere, vLLM, TEI, Voyage and infinity in one superset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsVp6FAAAAABJRU5ErkJggg=="
"""A white PNG of one pixel, for the examples."""


class Loose(BaseModel):
    """Fields that we do not know are let through: clients send more than they need."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class ImageUrl(Loose):
    """The inside of an ``image_url`` part."""

    url: StrictStr = Field(description="An http(s) address, a data URI, or base64.")


class Part(Loose):
    """A part of a document's ``content``, as in chat messages."""

    type: Literal["text", "image_url", "image", "input_text", "input_image"] = "text"
    text: StrictStr | None = None
    image_url: ImageUrl | StrictStr | None = None
    image: StrictStr | None = None


class Document(Loose):
    """A document that is more than a string: text, a picture, or both.

    A picture is an http(s) address (where the server allows it), a data URI, base64, or a ``file://`` path (where the server
    allows it).
    """

    text: StrictStr | None = None
    image: StrictStr | None = None
    image_url: ImageUrl | StrictStr | None = None
    content: StrictStr | list[Part] | None = None

    @model_validator(mode="after")
    def _has_something(self) -> Document:
        if self.text is None and self.image is None and self.image_url is None and self.content is None:
            raise ValueError("a document needs one of text, image, image_url, content")
        return self


class Query(Loose):
    """A question that is an object."""

    text: StrictStr


AnyDocument = StrictStr | Document

EXAMPLES: dict[str, Any] = {
    "texts": {
        "summary": "Texts, as Cohere's and Jina's clients send them",
        "value": {"query": "When was the harbour dredged?", "documents": ["Dredged in 1931.", "A list of ships."], "top_n": 1},
    },
    "pictures": {
        "summary": "Pictures, as Jina's clients send them",
        "value": {"query": "harbour map", "documents": [{"image": f"data:image/png;base64,{PNG}"}, {"image": PNG}]},
    },
    "parts": {
        "summary": "Pictures with captions, as vLLM's clients send them",
        "value": {
            "query": "harbour map",
            "documents": [
                {
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {"type": "text", "text": "A map of the harbour."},
                    ]
                }
            ],
        },
    },
    "tei": {
        "summary": "TEI: a bare array comes back",
        "value": {"query": "harbour map", "texts": ["A map.", "A list."], "return_text": True},
    },
    "voyage": {"summary": "Voyage", "value": {"query": "harbour map", "documents": ["A map.", "A list."], "top_k": 1}},
    "reasoning": {
        "summary": "With what the model thought",
        "value": {"query": "harbour map", "documents": ["A map.", "A list."], "reasoning": True, "diagnostics": True},
    },
}


MOST_WARNED = 10
"""Most unknown fields that are named in the warnings."""
NEVER_WARNED = frozenset({"user", "priority", "request_id", "encoding_format", "cache_salt", "mm_processor_kwargs"})
"""Fields of other servers that change no order; nothing is said of them."""


class ModelRequest(Loose):
    """What is asked of the model; fields that are not obeyed are told."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: StrictStr | None = Field(
        default=None, description="The server has one model, which the answer names; another name is said in `meta.warnings`."
    )
    instruction: StrictStr | None = Field(
        default=None, description="What the model is told beside the question, where its recipe has a place for it."
    )

    def warnings(self, served: str, *, takes_instruction: bool) -> list[str]:
        """What of the request is not obeyed.

        Args:
            served: name of the model that answers.
            takes_instruction: whether its recipe has a place for an instruction.
        """
        found = []
        if self.instruction is not None and not takes_instruction:
            found.append("instruction is not obeyed: this model's recipe has no place for it")
        if self.model is not None and self.model != served:
            found.append(f"model is not obeyed: this server has one model, {served!r}")
        unknown = [name for name, value in (self.model_extra or {}).items() if value is not None and name not in NEVER_WARNED]
        found += [f"{name[:60]} is not obeyed: this server does not know it" for name in unknown[:MOST_WARNED]]
        if len(unknown) > MOST_WARNED:
            found.append(f"{len(unknown) - MOST_WARNED} further fields are not obeyed")
        return found


class RerankRequest(ModelRequest):
    """A question and documents, in any client's spelling."""

    query: StrictStr | Query = Field(description="The question.")
    documents: Annotated[list[AnyDocument] | None, Field(description="The documents; or `texts` (TEI).")] = None
    texts: Annotated[list[StrictStr] | None, Field(description="TEI's spelling: the answer is then TEI's bare array.")] = None
    top_n: StrictInt | None = Field(default=None, ge=0, description="Only the best; 0 or null gives all.")
    top_k: StrictInt | None = Field(default=None, ge=0, description="Voyage's spelling of `top_n`.")
    min_relevance: float | None = Field(
        default=None, ge=0, le=1, description="Leave out results whose `relevance` is below this."
    )
    score_threshold: float | None = Field(default=None, ge=0, le=1, description="Another spelling of `min_relevance`.")
    min_score: float | None = Field(default=None, ge=0, le=1, description="Another spelling of `min_relevance`.")
    return_documents: StrictBool | None = Field(default=None, description="Repeat each document in the answer.")
    return_text: StrictBool | None = Field(default=None, description="TEI's spelling of `return_documents`.")
    raw_scores: StrictBool | None = Field(default=None, description="The model's own scores, not mapped to [0, 1].")
    use_activation: StrictBool | None = Field(default=None, description="vLLM's spelling: `false` is `raw_scores`.")
    max_tokens_per_doc: StrictInt | None = Field(
        default=None, ge=1, description="Read so many of the model's tokens of a document's text, from its beginning."
    )
    truncation: StrictBool | None = Field(
        default=None,
        description="Voyage's: `true` cuts a question or text that is longer than the server takes; else it is an error.",
    )
    truncate: StrictBool | None = Field(default=None, description="TEI's spelling of `truncation`.")
    reasoning: StrictBool | None = Field(default=None, description="Also what the model thought, a page and as a whole.")
    diagnostics: StrictBool | None = Field(default=None, description="Also how the order was won.")
    stream: StrictBool | None = Field(default=None, description="Answer with server-sent events.")

    @model_validator(mode="before")
    @classmethod
    def _one_document_for_many(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("documents"), dict):
            raise ValueError(
                "documents is a single object, which some servers read as one document and others as one a part: "
                "give a list of documents"
            )
        return data

    @model_validator(mode="after")
    def _one_spelling(self) -> RerankRequest:
        if (self.documents is None) == (self.texts is None):
            raise ValueError("give either documents or texts, and not both")
        if self.top_n and self.top_k and self.top_n != self.top_k:
            raise ValueError(f"top_n is {self.top_n} and top_k is {self.top_k}: give one of them")
        if len({v for v in (self.min_relevance, self.score_threshold, self.min_score) if v is not None}) > 1:
            raise ValueError("min_relevance, score_threshold and min_score differ: give one of them")
        return self

    @property
    def is_raw(self) -> bool:
        """Whether the model's own scores are wanted."""
        return bool(self.raw_scores) or self.use_activation is False

    @property
    def cuts(self) -> bool:
        """Whether what is too long is to be cut."""
        return bool(self.truncation or self.truncate)

    @property
    def is_infinity(self) -> bool:
        """Whether infinity's own client asks: it alone always sends these three fields."""
        return self.documents is not None and {"model", "raw_scores", "return_documents"} <= self.model_fields_set

    @property
    def is_tei(self) -> bool:
        """Whether TEI's client asks."""
        return self.texts is not None

    @property
    def question(self) -> str:
        """The question's text."""
        return self.query if isinstance(self.query, str) else self.query.text

    @property
    def items(self) -> list[AnyDocument]:
        """The documents under either name; TEI's texts are texts whatever they look like."""
        if self.texts is not None:
            return [Document(text=text) for text in self.texts]
        return list(self.documents or [])

    @property
    def limit(self) -> int | None:
        """How many results are wanted, at least 1; None for all."""
        return self.top_n or self.top_k or None

    @property
    def least(self) -> float | None:
        """Least relevance of a result that is wanted; None for all."""
        return next((v for v in (self.min_relevance, self.score_threshold, self.min_score) if v is not None), None)

    @property
    def echo(self) -> bool | None:
        """Whether documents are repeated in the answer; None where nothing is said: texts are, as vLLM's clients need it."""
        return self.return_text if self.is_tei else self.return_documents


class Result(BaseModel):
    """A document's place in the answer."""

    index: int = Field(ge=0, description="Zero-based place of the document in the request.")
    relevance_score: float = Field(description="In [0, 1] unless `raw_scores`; never rises from one result to the next.")
    relevance: float | None = Field(
        default=None, ge=0, le=1, description="Calibrated probability that the document answers; absent without a calibration."
    )
    document: dict[str, Any] | str | None = Field(
        default=None, description="The document's text; its picture, too, with `return_documents`; absent where that is false."
    )
    reasoning: str | None = Field(default=None, description="The model's sentence on this page, when `reasoning`.")


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class RerankResponse(BaseModel):
    """The answer of the rerank routes, but for TEI's."""

    id: str
    object: Literal["rerank"] = "rerank"
    created: int
    model: str
    results: list[Result] = Field(description="Best first.")
    data: list[Result] = Field(description="`results` again, where Voyage's client looks for them, without documents.")
    usage: Usage
    meta: dict[str, Any]
    answerable: dict[str, Any] | None = Field(
        default=None, description="Whether any document answers: `probability` and `verdict`; absent without a calibration."
    )
    score_kind: str = Field(description="What `relevance_score` is; see docs/serving.md.")
    reasoning: str | None = None
    diagnostics: dict[str, Any] | None = None


ScoreInput = AnyDocument | list[AnyDocument]

SCORE_EXAMPLES: dict[str, Any] = {
    "one to many": {
        "summary": "A question and texts, as vLLM's clients send them",
        "value": {"text_1": "When was the harbour dredged?", "text_2": ["Dredged in 1931.", "A list of ships."]},
    },
    "pairs": {
        "summary": "Pairs",
        "value": {"queries": ["harbour map", "ferry times"], "documents": ["A map of the harbour.", "The ferry leaves at nine."]},
    },
}
_SHARED = ("model", "instruction", "use_activation", "max_tokens_per_doc")
_LEFT, _RIGHT = ("queries", "text_1", "data_1"), ("documents", "text_2", "data_2", "items")


class ScoreRequest(ModelRequest):
    """Questions and documents to be scored pair by pair, in vLLM's spellings: one to one, one to many, or as many of each."""

    queries: StrictStr | list[StrictStr] | None = Field(default=None, description="A question, or one a document.")
    documents: ScoreInput | None = Field(default=None, description="A document, or several.")
    text_1: StrictStr | list[StrictStr] | None = Field(default=None, description="vLLM's spelling of `queries`.")
    text_2: ScoreInput | None = Field(default=None, description="vLLM's spelling of `documents`.")
    data_1: StrictStr | list[StrictStr] | None = Field(default=None, description="vLLM's spelling of `queries`.")
    data_2: ScoreInput | None = Field(default=None, description="vLLM's spelling of `documents`.")
    items: ScoreInput | None = Field(default=None, description="vLLM's spelling of `documents`.")
    use_activation: StrictBool | None = Field(default=None, description="`false` gives the model's own scores.")
    max_tokens_per_doc: StrictInt | None = Field(default=None, ge=1, description="As of the rerank routes.")

    @model_validator(mode="after")
    def _pairs_fit(self) -> ScoreRequest:
        for names in (_LEFT, _RIGHT):
            if sum(getattr(self, name) is not None for name in names) != 1:
                raise ValueError(f"give one of {', '.join(names)}")
        questions, documents = self.pairs()
        if not documents:
            raise ValueError("there are no documents: give at least one")
        if len(questions) not in (1, len(documents)):
            raise ValueError(
                f"there are {len(questions)} questions and {len(documents)} documents: give one question, or as many"
            )
        return self

    def pairs(self) -> tuple[list[str], list[AnyDocument]]:
        """The questions and the documents."""
        left, right = (next(v for name in names if (v := getattr(self, name)) is not None) for names in (_LEFT, _RIGHT))
        return (left if isinstance(left, list) else [left]), (right if isinstance(right, list) else [right])

    def requests(self) -> list[tuple[list[int], RerankRequest]]:
        """A rerank request for each different question, with the places of its documents."""
        questions, documents = self.pairs()
        places: dict[str, list[int]] = {}
        for i in range(len(documents)):
            places.setdefault(questions[i if len(questions) > 1 else 0], []).append(i)
        said: dict[str, Any] = {name: getattr(self, name) for name in _SHARED}
        return [
            (own, RerankRequest(query=question, documents=[documents[i] for i in own], return_documents=False, **said))
            for question, own in places.items()
        ]


class ScoreLine(BaseModel):
    """The score of a pair."""

    index: int = Field(ge=0, description="Zero-based place of the pair in the request.")
    object: Literal["score"] = "score"
    score: float = Field(description="In [0, 1] unless `use_activation` is false.")


class ScoreResponse(BaseModel):
    """The answer of the score routes: a line a pair, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreLine]
    usage: Usage
    meta: dict[str, Any]
    score_kind: str = Field(description="What `score` is; see docs/serving.md.")


class TeiResult(BaseModel):
    """A line of TEI's answer."""

    index: int
    score: float
    text: str | None = None


class ErrorInside(BaseModel):
    """The inside of an error, as OpenAI's clients read it."""

    message: str
    type: str
    code: int


class ErrorBody(BaseModel):
    """An error; TEI's clients get ``error`` as the message, and ``error_type``."""

    error: ErrorInside | str
    message: str | None = None
    detail: str | None = None
    error_type: str | None = None
