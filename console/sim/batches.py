"""The simulated message batches: created, ended a little later, canceled, and their results. No I/O; takes `now`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from console.sim.limits import rfc3339
from console.sim.requests import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MOST_BATCHES = 1_000
_MOST_REQUESTS = 100_000
_DAY_S = 86_400
_PROCESSING_S = 2.0
_CANCELING_S = 0.5

Result = dict[str, Any]


@dataclass(slots=True)
class _Batch:
    id: str
    requests: Sequence[Mapping[str, Any]]
    created: float
    ends: float
    cancel_started: float | None = None


class Batches:
    """The batches of the account, the last 1,000. `scale` turns a believable delay in seconds into the real one."""

    def __init__(self, scale: Callable[[float], float]) -> None:
        self._scale = scale
        self._batches: dict[str, _Batch] = {}

    def create(self, body: Mapping[str, Any], now: float) -> _Batch:
        """A new batch from the request's body. Raises RefusedError."""
        batch = _Batch(f"msgbatch_01{uuid.uuid4().hex[:22]}", _checked(body), now, now + self._scale(_PROCESSING_S))
        self._batches[batch.id] = batch
        if len(self._batches) > _MOST_BATCHES:
            del self._batches[next(iter(self._batches))]
        return batch

    def get(self, batch_id: str) -> _Batch:
        """Raises RefusedError (404)."""
        batch = self._batches.get(batch_id)
        if batch is None:
            raise RefusedError(404, "not_found_error", f"message_batch: {batch_id[:100]}")
        return batch

    def all(self) -> list[_Batch]:
        """Newest first, as the API lists them."""
        return list(reversed(self._batches.values()))

    def cancel(self, batch_id: str, now: float) -> _Batch:
        """Begin to cancel it; one that has ended, or is being canceled, stays as it is."""
        batch = self.get(batch_id)
        if batch.cancel_started is None and now < batch.ends:
            batch.cancel_started = now
            batch.ends = now + self._scale(_CANCELING_S)
        return batch

    def show(self, batch: _Batch, now: float, base_url: str) -> dict[str, Any]:
        """The batch object. All requests of a batch end together: succeeded (or errored), or canceled."""
        has_ended = now >= batch.ends
        status = "ended" if has_ended else "in_progress" if batch.cancel_started is None else "canceling"
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        ended_as = "succeeded" if batch.cancel_started is None else "canceled"
        counts[ended_as if has_ended else "processing"] = len(batch.requests)
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": rfc3339(batch.created),
            "expires_at": rfc3339(batch.created + _DAY_S),
            "ended_at": rfc3339(batch.ends) if has_ended else None,
            "cancel_initiated_at": rfc3339(batch.cancel_started) if batch.cancel_started is not None else None,
            "archived_at": None,
            "results_url": f"{base_url}/v1/messages/batches/{batch.id}/results" if has_ended else None,
        }

    def results(self, batch_id: str, now: float, run: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[Result]:
        """One result per request; `run` makes the result of its `params`. Raises RefusedError (404) before the end."""
        batch = self.get(batch_id)
        if now < batch.ends:
            raise RefusedError(404, "not_found_error", f"results of {batch_id} are not available yet")
        if batch.cancel_started is not None:
            return [_result(request, {"type": "canceled"}) for request in batch.requests]
        return [_result(request, run(request["params"])) for request in batch.requests]


def _result(request: Mapping[str, Any], result: dict[str, Any]) -> Result:
    return {"custom_id": request["custom_id"], "result": result}


def _checked(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    requests = body.get("requests")
    if not isinstance(requests, list) or not requests:
        raise RefusedError(400, "invalid_request_error", "requests: at least one request is required")
    if len(requests) > _MOST_REQUESTS:
        raise RefusedError(400, "invalid_request_error", f"requests: more than {_MOST_REQUESTS}")
    seen: set[str] = set()
    for index, request in enumerate(requests):
        if not isinstance(request, dict) or not isinstance(request.get("params"), dict):
            raise RefusedError(400, "invalid_request_error", f"requests.{index}.params: Field required")
        custom_id = request.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id or custom_id in seen:
            raise RefusedError(400, "invalid_request_error", f"requests.{index}.custom_id: must be a text and unique")
        seen.add(custom_id)
    return requests
