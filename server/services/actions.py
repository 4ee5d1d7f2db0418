"""What agents do with actions: press, approve, reject, try again, look (docs/actions.md)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.action import Action, Cause, State
from server.domain.action_log import KEY_USED
from server.domain.agents import Role
from server.domain.errors import Conflict, IdempotencyConflict, NotFound
from server.domain.ids import client_id_of, new_id
from server.domain.intents import MoveAction, PressAction
from server.services import action_parameters
from server.storage import action_definitions, actions

if TYPE_CHECKING:
    from uuid import UUID

    from server.clock import Clock
    from server.domain.action import Definition
    from server.domain.agents import Agent
    from server.services.directory import Directory, Place
    from server.storage.actions import Listed
    from server.storage.database import Database
    from server.storage.writer import Writer

STATES = tuple(state.value for state in State)


class Pressed(msgspec.Struct, frozen=True):
    """`repeated`: it was pressed already, by the same request."""

    listed: Listed
    repeated: bool


class Actions:
    """Whatever is written goes through the writer, as everything in a thread does."""

    def __init__(self, database: Database, writer: Writer, directory: Directory, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._directory = directory
        self._clock = clock

    async def press(
        self,
        agent: Agent,
        conversation_id: UUID,
        name: str,
        *,
        parameters: dict[str, Any],
        transaction: str | None = None,
        version: int | None = None,
        key: str | None = None,
    ) -> Pressed:
        """Ask for it, in this conversation. `version`: of the transaction, as the agent has seen it. The same `key` of
        the same agent in the same conversation is the same press."""
        place = await self._locate(agent, conversation_id)
        now = self._clock.now()
        made_as = hashlib.sha256(msgspec.json.encode((name, transaction, parameters), order="sorted")).digest()
        action_id = client_id_of(agent.agent_id, f"action {conversation_id} {key}") if key is not None else new_id(now)
        # A repeat gets its first answer, whatever has become of the definition. (Of two at once the writer decides.)
        earlier = await actions.find(self._database, action_id, [place.app_id]) if key is not None else None
        if earlier is not None:
            if earlier.action.made_as != made_as:
                raise IdempotencyConflict(KEY_USED, field="Idempotency-Key")
            return Pressed(earlier, repeated=True)
        definition = await action_definitions.find_by_name(self._database, place.app_id, name)
        if definition is None:
            raise NotFound("There is no such action.", field="action")
        if not definition.enabled:
            raise Conflict("This action is switched off.", field="action")
        await action_parameters.load()
        action_parameters.check_parameters(definition.parameters, parameters)
        action = Action(
            app_id=place.app_id,
            user_id=place.user_id,
            conversation_id=conversation_id,
            action_id=action_id,
            listed_as=new_id(now),
            definition_id=definition.definition_id,
            name=definition.name,
            title=definition.title,
            transaction_id=transaction,
            parameters=msgspec.json.encode(parameters),
            requested_by=agent.agent_id,
            requested_at=now,
            made_as=made_as,
            since=now,
            updated_at=now,
        )
        numbered = await self._writer.append_one(
            PressAction(
                app_id=place.app_id,
                user_id=place.user_id,
                conversation_id=conversation_id,
                author=agent.author,
                action=action,
                definition=definition,
                parameters=parameters,
                version=version,
            )
        )
        return Pressed(await self.find(agent, action_id), repeated=not numbered.applied)

    async def approve(self, agent: Agent, action_id: UUID, version: int | None = None) -> Listed:
        """Another agent agrees. `version`: of the transaction, if it is a newer one than when it was pressed."""
        return await self._move(agent, action_id, Cause.APPROVE, version)

    async def reject(self, agent: Agent, action_id: UUID) -> Listed:
        """Another agent does not, or who pressed it takes it back."""
        return await self._move(agent, action_id, Cause.REJECT)

    async def retry(self, agent: Agent, action_id: UUID) -> Listed:
        """Ask the app's server now, with the same key, and for three more days."""
        return await self._move(agent, action_id, Cause.RETRY)

    async def find(self, agent: Agent, action_id: UUID) -> Listed:
        found = await actions.find(self._database, action_id, list(agent.memberships))
        if found is None:
            raise NotFound("There is no such action.", field="action")
        return found

    async def list_actions(
        self, agent: Agent, app_id: UUID | None, state: str | None, before: UUID | None, limit: int
    ) -> list[Listed]:
        """Of one app, or of all the agent's, newest first."""
        if app_id is not None:
            agent.require(app_id)
        apps = [app_id] if app_id is not None else list(agent.memberships)
        states = [state] if state is not None else list(STATES)
        return await actions.list_of_apps(self._database, apps, states, before, limit)

    async def list_of_conversation(
        self, agent: Agent, conversation_id: UUID, before: UUID | None, limit: int
    ) -> list[Listed]:
        place = await self._locate(agent, conversation_id)
        return await actions.list_of_conversation(
            self._database, place.app_id, place.user_id, conversation_id, before, limit
        )

    async def list_definitions(self, agent: Agent, app_id: UUID, after: UUID | None, limit: int) -> list[Definition]:
        """What agents of the app may press."""
        agent.require(app_id)
        return await action_definitions.list_definitions(self._database, app_id, after, limit)

    async def _move(self, agent: Agent, action_id: UUID, cause: Cause, version: int | None = None) -> Listed:
        action = (await self.find(agent, action_id)).action
        membership = agent.require(action.app_id)
        if cause is Cause.APPROVE and action.state is State.AWAITING_APPROVAL:
            definition = await action_definitions.find(self._database, action.app_id, action.definition_id)
            if definition is None or not definition.enabled:
                raise Conflict("This action is switched off; it can be rejected.", field="action")
        await self._writer.append_one(
            MoveAction(
                app_id=action.app_id,
                user_id=action.user_id,
                conversation_id=action.conversation_id,
                author=agent.author,
                action_id=action_id,
                cause=cause,
                by=agent.agent_id if cause is not Cause.RETRY else None,
                supervisor=membership.role is not Role.AGENT,
                version=version,
                due_at=self._clock.now() if cause is Cause.RETRY else None,
            )
        )
        return await self.find(agent, action_id)

    async def _locate(self, agent: Agent, conversation_id: UUID) -> Place:
        """A conversation of another app does not exist for this agent. Raises NotFound."""
        place = await self._directory.find(conversation_id)
        if place.app_id not in agent.memberships:
            raise NotFound("There is no such conversation.", field="conversation")
        return place
