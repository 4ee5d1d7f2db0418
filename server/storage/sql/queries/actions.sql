-- Actions and what defines them (docs/actions.md).

-- name: count_action_definitions
-- scope: reference
select count(*) from action_definition where app_id = $1 and deleted_at is null;

-- name: insert_action_definition
-- scope: reference
insert into action_definition (definition_id, app_id, name, title, url, kinds, parameters, limit_value, limit_currency,
    over_limit, approval, allow_parallel, enabled, made_as, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15);

-- name: find_action_definition
-- scope: reference
select * from action_definition where app_id = $1 and definition_id = $2 and deleted_at is null;

-- name: find_action_definition_by_name
-- scope: reference
select * from action_definition where app_id = $1 and name = $2 and deleted_at is null;

-- name: list_action_definitions
-- scope: reference
select * from action_definition
where app_id = $1 and deleted_at is null and ($2::uuid is null or definition_id > $2)
order by definition_id limit $3;

-- name: put_action_definition
-- scope: reference
update action_definition set title = $3, url = $4, kinds = $5, parameters = $6, limit_value = $7, limit_currency = $8,
    over_limit = $9, approval = $10, allow_parallel = $11, enabled = $12, updated_at = $13
where app_id = $1 and definition_id = $2 and deleted_at is null;

-- name: delete_action_definition
-- scope: reference
update action_definition set deleted_at = $3, enabled = false
where app_id = $1 and definition_id = $2 and deleted_at is null;

-- name: insert_action_secret
-- scope: reference
insert into action_secret (secret_id, definition_id, sealed, created_at) values ($1, $2, $3, $4);

-- name: retire_action_secrets
-- scope: reference
-- The ones before go on signing until then.
update action_secret set valid_until = least(valid_until, $3)
where definition_id = $1 and secret_id <> $2;

-- name: drop_action_secrets
-- scope: reference
-- Those that have run out, and the oldest beyond the newest few.
delete from action_secret s
where s.definition_id = $1 and (s.valid_until <= $2 or s.secret_id not in (
    select n.secret_id from action_secret n where n.definition_id = $1 order by n.secret_id desc limit $3
));

-- name: list_action_secrets
-- scope: reference
-- Newest first.
select sealed from action_secret
where definition_id = $1 and (valid_until is null or valid_until > $2)
order by secret_id desc;

-- name: load_actions
-- scope: user
-- Actions by id. Locked against workers that claim; their users are locked already.
select a.* from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as want (app_id, user_id, action_id)
join action a on a.app_id = want.app_id and a.user_id = want.user_id and a.action_id = want.action_id
for update of a;

-- name: load_open_actions
-- scope: user
-- Those of a definition that are not settled, of these users.
select a.* from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as want (app_id, user_id, definition_id)
join action a on a.app_id = want.app_id and a.user_id = want.user_id and a.definition_id = want.definition_id
    and a.state in ('awaiting_approval', 'pending', 'unknown');

-- name: put_action
-- scope: user
insert into action (app_id, user_id, action_id, conversation_id, listed_as, definition_id, name, title, transaction_id,
    transaction, parameters, state, approver, requested_by, requested_at, decided_by, decided_at, made_as, attempts, since,
    due_at, claim, status, error, message, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
    $26)
on conflict (app_id, user_id, action_id) do update set transaction = excluded.transaction, state = excluded.state,
    decided_by = excluded.decided_by, decided_at = excluded.decided_at, attempts = excluded.attempts,
    since = excluded.since, due_at = excluded.due_at, claim = excluded.claim, status = excluded.status,
    error = excluded.error, message = excluded.message, updated_at = excluded.updated_at;

-- name: claim_actions
-- scope: system
-- What is due, with a lease until `$3`; commit before any call. `$4`: not of these definitions, which have enough under
-- way here.
update action a set claim = $2, due_at = $3
from (
    select n.app_id, n.user_id, n.action_id, n.definition_id from action n
    where n.due_at <= $1 and n.definition_id <> all ($4::uuid[])
    order by n.due_at limit $5
    for update skip locked
) due
where a.app_id = due.app_id and a.user_id = due.user_id and a.action_id = due.action_id
returning a.app_id, a.user_id, a.action_id, a.definition_id;

-- name: look_before_action
-- scope: user
-- Everything a call depends on, read right before it is made. No row if the claim is not ours any more.
select a.*, d.url,
    array(
        select s.sealed from action_secret s
        where s.definition_id = a.definition_id and (s.valid_until is null or s.valid_until > $5)
        order by s.secret_id desc
    ) as sealed,
    u.external_id, r.name as requested_name, r.avatar_url as requested_avatar, g.name as decided_name
from action a
join action_definition d on d.definition_id = a.definition_id
join end_user u on u.app_id = a.app_id and u.user_id = a.user_id
left join agent r on r.agent_id = a.requested_by
left join agent g on g.agent_id = a.decided_by
where a.app_id = $1 and a.user_id = $2 and a.action_id = $3 and a.claim = $4;

-- name: oldest_action
-- scope: system
-- Since when something is due with nobody at work on any action of its definition: then no worker runs, or it cannot.
select min(a.due_at) from action a
where a.due_at <= $1 and not exists (
    select from action n where n.definition_id = a.definition_id and n.due_at > $1 and n.claim is not null
);

-- name: find_action
-- scope: app
-- By its id alone, as agents name it, in any of their apps.
select a.*, r.name as requested_name, g.name as decided_name
from action a
left join agent r on r.agent_id = a.requested_by
left join agent g on g.agent_id = a.decided_by
where a.action_id = $1 and a.app_id = any ($2::uuid[]);

-- name: list_actions
-- scope: app
-- Of these apps and states, newest first.
select a.*, r.name as requested_name, g.name as decided_name
from (
    select given.* from unnest($1::uuid[]) as wanted (app_id)
    cross join unnest($2::text[]) as stood (state)
    cross join lateral (
        select n.* from action n
        where n.app_id = wanted.app_id and n.state = stood.state and n.listed_as < $3
        order by n.listed_as desc limit $4
    ) given
    order by given.listed_as desc limit $4
) a
left join agent r on r.agent_id = a.requested_by
left join agent g on g.agent_id = a.decided_by
order by a.listed_as desc;

-- name: list_conversation_actions
-- scope: user
-- Newest first.
select a.*, r.name as requested_name, g.name as decided_name
from action a
left join agent r on r.agent_id = a.requested_by
left join agent g on g.agent_id = a.decided_by
where a.app_id = $1 and a.user_id = $2 and a.conversation_id = $3 and a.listed_as < $4
order by a.listed_as desc limit $5;
