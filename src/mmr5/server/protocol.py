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


class RerankRequest(Loose):
    """A question and documents, in any client's spelling."""

    query: StrictStr | Query = Field(description="The question.")
    documents: Annotated[list[AnyDocument] | None, Field(description="The documents; or `texts` (TEI).")] = None
    texts: Annotated[list[StrictStr] | None, Field(description="TEI's spelling: the answer is then TEI's bare array.")] = None
    model: StrictStr | None = Field(default=None, description="Ignored: the server has one model, which the answer names.")
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
    def echo(self) -> bool:
        """Whether documents are repeated in the answer."""
        return bool(self.return_documents or self.return_text)


class Result(BaseModel):
    """A document's place in the answer."""

    index: int = Field(ge=0, description="Zero-based place of the document in the request.")
    relevance_score: float = Field(description="In [0, 1] unless `raw_scores`; never rises from one result to the next.")
    relevance: float | None = Field(
        default=None, ge=0, le=1, description="Calibrated probability that the document answers; absent without a calibration."
    )
    document: dict[str, Any] | None = Field(default=None, description="The document, when `return_documents`.")
    reasoning: str | None = Field(default=None, description="The model's sentence on this page, when `reasoning`.")


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class RerankResponse(BaseModel):
    """The answer of the rerank routes, but for TEI's."""

    id: str
    object: Literal["list"] = "list"
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
