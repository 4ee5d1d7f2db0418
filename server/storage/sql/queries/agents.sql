-- Agents, the apps they work for, and how they prove who they are.

-- name: upsert_agent
-- scope: reference
-- Make an agent, or take the existing one with this e-mail address.
insert into agent (agent_id, email, name, avatar_url, password_hash, created_at)
values ($1, $2, $3, $4, $5, $6)
on conflict (email) do update set password_hash = coalesce(excluded.password_hash, agent.password_hash)
returning agent_id, email, name, avatar_url;

-- name: put_membership
-- scope: reference
insert into membership (app_id, agent_id, role, created_at) values ($1, $2, $3, $4)
on conflict (app_id, agent_id) do update set role = excluded.role;

-- name: find_agent_by_email
-- scope: reference
select agent_id, email, name, avatar_url, password_hash
from agent where email = $1 and disabled_at is null;

-- name: insert_agent_token
-- scope: reference
insert into agent_token (token_hash, agent_id, kind, created_at, expires_at) values ($1, $2, $3, $4, $5);

-- name: delete_agent_token
-- scope: reference
delete from agent_token where token_hash = $1;

-- name: delete_expired_agent_tokens
-- scope: reference
delete from agent_token where expires_at < $1;

-- name: find_agent_by_token
-- scope: reference
select a.agent_id, a.email, a.name, a.avatar_url, t.kind, t.expires_at
from agent_token t join agent a on a.agent_id = t.agent_id
where t.token_hash = $1 and a.disabled_at is null and (t.expires_at is null or t.expires_at > $2);

-- name: list_memberships
-- scope: reference
select m.app_id, a.name, m.role
from membership m join app a on a.app_id = m.app_id
where m.agent_id = $1 order by a.created_at, a.app_id;

-- name: find_member
-- scope: reference
-- An agent as a member of an app: whom one may assign a conversation to.
select a.agent_id, a.email, a.name, a.avatar_url, m.role
from membership m join agent a on a.agent_id = m.agent_id
where m.app_id = $1 and m.agent_id = $2 and a.disabled_at is null;

-- name: list_members
-- scope: reference
select a.agent_id, a.email, a.name, a.avatar_url, m.role
from membership m join agent a on a.agent_id = m.agent_id
where m.app_id = $1 and a.disabled_at is null order by a.name, a.agent_id;
