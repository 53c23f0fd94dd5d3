"""What is asked of `/admin`: bodies, and how its routes are described."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.openapi import ErrorResponse

_ERRORS = {401: "No admin key, or a wrong one", 403: "The gateway isn't operated from there"}
_BODY_ERRORS = {
    400: "The body is wrong; `param` says where",
    404: "Nothing has this name",
    408: "The body didn't arrive in time",
    409: "A model would be left without a usable worker",
    413: "The body is too large",
    415: "The body isn't marked as JSON",
    429: "The gateway holds too many bytes of requests; see Retry-After",
}


class Order(BaseModel):
    """What all bodies have in common: exactly the fields that are asked for."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class UndrainBody(Order):
    """A worker that is to get work again."""

    worker: str = Field(description="Its name, as `/admin/workers` has it.")


class DrainBody(UndrainBody):
    """A worker that is to get no more work."""

    force: bool = Field(default=False, description="Also when that leaves a model without a usable worker.")


class FlushBody(Order):
    """A model whose scores are to be forgotten."""

    model: str = Field(description="Its name, or an alias.")


def described(summary: str, report: type, order: type[Order] | None = None) -> dict[str, Any]:
    """Keyword arguments for `add_api_route` that describe a route by its answer, and its body if it takes one."""
    errors = _ERRORS | _BODY_ERRORS if order else _ERRORS
    content = {"application/json": {"schema": order.model_json_schema()}} if order else {}
    return {
        "summary": summary,
        "response_model": report,
        "responses": {status: {"model": ErrorResponse, "description": text} for status, text in errors.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": content}} if order else None,
    }
