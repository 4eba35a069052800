"""Routes over the response policy: what is in force, a new one, and what a candidate would do."""

from __future__ import annotations

import tomllib
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import MAX_ERRORS, described, faults_of
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_orders import ReasonQuery
from app.admin.models_policy import VERSION, PolicyOut, PolicyPreview
from app.admin.permissions import permit
from app.admin.policy_effect import preview, warnings
from app.enforcement.policy_text import digest, own_names, parse_policy
from app.enforcement.policy_toml import render, render_whole
from app.errors import BadInput, ConfigError
from app.settings import EnforcementSettings
from app.state.control import ControlDoc

TOML = "application/toml"
PREVIEW_SEC = 20.0
"""More time than an ordinary question has: a preview looks at every key above clear."""

_FILE = "A policy file is configured (control.policy_file), which wins over what is stored: change the file."
_EXAMPLE = {"mode": "shadow", "suspect": {"action": "throttle", "factor": 0.25, "ttl_sec": 3600}}

IfMatch = Annotated[str, Header(pattern=VERSION, description="version that was read before; another one is a conflict")]


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The policy routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["policy"])
    body = described(EnforcementSettings, example=_EXAMPLE)
    body["requestBody"]["content"][TOML] = {"schema": {"type": "string"}, "example": render_whole(EnforcementSettings())}

    @routes.get("/policy", dependencies=[permit("policy.read")])
    async def get_policy(response: Response) -> PolicyOut:
        """The policy in force, where it comes from, and which gateways have it."""
        async with answered():
            doc = await acting.store.get()
            found = await _shown(acting, doc)
        response.headers["etag"] = f'"{doc.version}"'
        return found

    @routes.put("/policy", dependencies=[permit("policy.write")], openapi_extra=body)
    async def put_policy(
        request: Request,
        response: Response,
        query: Annotated[ReasonQuery, Query()],
        caller: CallerDep,
        if_match: IfMatch,
    ) -> PolicyOut:
        """Put a policy in force, as TOML or JSON: within a second at every gateway, without a restart.

        It replaces the stored one as a whole; what is not given has its default. Refused with 409 where a policy file is
        configured, or when policy or plans were changed since they were read.
        """
        candidate, text = await _candidate(request)
        if acting.settings.control.policy_file is not None:
            raise HTTPException(409, _FILE)
        async with answered():
            doc = await acting.store.get()
        version = int(if_match.strip('"'))
        if doc.version != version:
            raise HTTPException(409, f"The stored version is {doc.version}: read the policy again and repeat the change.")
        before = {"toml": doc.policy_toml, "version": doc.version}
        await auditor.record(
            caller, request, "policy.put", "policy", reason=query.reason, before=before, after={"toml": text}
        )
        async with answered():
            stored = await acting.store.set_policy(text, version)
            found = await _shown(acting, ControlDoc(text, doc.plans_json, doc.kill, stored), candidate)
        response.headers["etag"] = f'"{stored}"'
        return found

    @routes.delete("/policy", status_code=204, response_class=Response, dependencies=[permit("policy.write")])
    async def delete_policy(
        request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep, if_match: IfMatch
    ) -> None:
        """Forget the stored policy: that of the settings is in force again."""
        if acting.settings.control.policy_file is not None:
            raise HTTPException(409, _FILE)
        async with answered():
            doc = await acting.store.get()
        if not doc.policy_toml:
            raise HTTPException(404, "No policy is stored; the one in force comes from the settings.")
        if doc.version != int(if_match.strip('"')):
            raise HTTPException(409, f"The stored version is {doc.version}: read the policy again and repeat the change.")
        before = {"toml": doc.policy_toml}
        await auditor.record(caller, request, "policy.delete", "policy", reason=query.reason, before=before)
        async with answered():
            await acting.store.set_policy("", doc.version)

    @routes.post("/policy:preview", dependencies=[permit("policy.read")], openapi_extra=body)
    async def preview_policy(request: Request) -> PolicyPreview:
        """What a policy would do about the keys as they are judged now, and what that changes. Does nothing."""
        candidate, _ = await _candidate(request)
        async with acting.patiently(PREVIEW_SEC):
            return await preview(acting, candidate)

    return routes


async def _candidate(request: Request) -> tuple[EnforcementSettings, str]:
    """(the policy in the body, its TOML).

    Raises:
        RequestValidationError: a field breaks its rule.
        BadInput: it is neither TOML nor JSON.
    """
    data = await request.body()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if media_type == TOML:
            text = data.decode()
            found = EnforcementSettings.model_validate(tomllib.loads(text))
        else:
            found = EnforcementSettings.model_validate_json(data, strict=True)
            text = render(found)
        # What is stored is read again by every process in this way.
        parse_policy(text, "body")
    except ValidationError as error:
        faults = faults_of(error, "body")[:MAX_ERRORS]
        raise RequestValidationError([{**fault, "msg": own_names(fault["msg"])} for fault in faults]) from None
    except UnicodeDecodeError:
        raise BadInput("body: must be UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"body: must be valid TOML: {error}") from None
    except ConfigError as error:
        raise BadInput(str(error)) from None
    except ValueError as error:
        raise BadInput(f"body.{error}") from None
    return found, text


async def _shown(acting: Acting, doc: ControlDoc, new: EnforcementSettings | None = None) -> PolicyOut:
    """What is in force by what is stored; this process's own copy may be a moment behind that."""
    control = acting.control
    source, policy = control.policy_source, control.policy
    if source != "file":
        source = "state" if doc.policy_toml else "settings"
        policy = new or (_parsed(doc.policy_toml) if doc.policy_toml else None) or acting.settings.enforcement
    gateways: dict[str, int] = {}
    for one in (await acting.reader.gateways()).each:
        gateways[one.policy or "unknown"] = gateways.get(one.policy or "unknown", 0) + 1
    return PolicyOut(
        source=source,
        digest=digest(policy),
        version=doc.version,
        writable=acting.settings.control.policy_file is None,
        policy=policy.model_dump(mode="json"),
        toml=render_whole(policy),
        gateways=gateways,
        warnings=warnings(policy),
    )


def _parsed(text: str) -> EnforcementSettings | None:
    try:
        return parse_policy(text, "the stored policy")
    except ConfigError:  # of another release: every process holds on to its last good one
        return None
