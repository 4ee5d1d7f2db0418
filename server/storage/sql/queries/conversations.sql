-- Summaries: the phone's list, the desk's inbox, one conversation with what is around it.

-- name: find_directory
-- scope: directory
select app_id, user_id from conversation_directory where conversation_id = $1;

-- name: find_conversation
-- scope: user
select c.*, u.external_id, u.name as user_name, a.name as assignee_name, a.avatar_url as assignee_avatar
from conversation c
join end_user u on u.app_id = c.app_id and u.user_id = c.user_id
left join agent a on a.agent_id = c.assignee
where c.app_id = $1 and c.user_id = $2 and c.conversation_id = $3;

-- name: find_conversations
-- scope: user
-- Several summaries as the desk shows them: the newest state behind a hint.
select c.*, u.external_id, u.name as user_name, a.name as assignee_name, a.avatar_url as assignee_avatar
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as want (app_id, user_id, conversation_id)
join conversation c
    on c.app_id = want.app_id and c.user_id = want.user_id and c.conversation_id = want.conversation_id
join end_user u on u.app_id = c.app_id and u.user_id = c.user_id
left join agent a on a.agent_id = c.assignee;

-- name: list_user_conversations
-- scope: user
-- A user's conversations, the last touched first.
select c.*, u.external_id, u.name as user_name, a.name as assignee_name, a.avatar_url as assignee_avatar,
    s.body as context
from conversation c
join end_user u on u.app_id = c.app_id and u.user_id = c.user_id
left join agent a on a.agent_id = c.assignee
left join context_snapshot s
    on s.app_id = c.app_id and s.user_id = c.user_id and s.conversation_id = c.conversation_id
where c.app_id = $1 and c.user_id = $2
order by c.updated_at desc, c.conversation_id desc limit $3;

-- name: list_inbox_by_opened
-- scope: app
-- The inbox, newest first. `opened_at` never changes, so paging is stable while conversations move.
-- App by app, so that each is read in the order of its index and only as far as the page goes.
select c.*, a.name as assignee_name, a.avatar_url as assignee_avatar
from unnest($1::uuid[]) as wanted (app_id)
cross join lateral (
    select c.*, u.external_id, u.name as user_name
    from conversation c
    join end_user u on u.app_id = c.app_id and u.user_id = c.user_id
    where c.app_id = wanted.app_id
        and ($2::text is null or c.status = $2)
        and ($3::uuid is null or c.assignee = $3)
        and (not $4::boolean or c.assignee is null)
        and ($5::text is null or c.topic = $5)
        and ($6::text is null or $6 = any (c.tags))
        and ($7::text is null or position(lower($7) in lower(concat_ws(' ', u.name, u.external_id, u.email, c.topic,
            c.headline, c.last_message ->> 'text'))) > 0)
        and ($8::timestamptz is null or (c.opened_at, c.conversation_id) < ($8, $9::uuid))
    order by c.opened_at desc, c.conversation_id desc limit $10
) c
left join agent a on a.agent_id = c.assignee
order by c.opened_at desc, c.conversation_id desc limit $10;

-- name: list_inbox_by_updated
-- scope: app
-- The inbox, last touched first: what an agent wants to see.
-- App by app, so that each is read in the order of its index and only as far as the page goes.
select c.*, a.name as assignee_name, a.avatar_url as assignee_avatar
from unnest($1::uuid[]) as wanted (app_id)
cross join lateral (
    select c.*, u.external_id, u.name as user_name
    from conversation c
    join end_user u on u.app_id = c.app_id and u.user_id = c.user_id
    where c.app_id = wanted.app_id
        and ($2::text is null or c.status = $2)
        and ($3::uuid is null or c.assignee = $3)
        and (not $4::boolean or c.assignee is null)
        and ($5::text is null or c.topic = $5)
        and ($6::text is null or $6 = any (c.tags))
        and ($7::text is null or position(lower($7) in lower(concat_ws(' ', u.name, u.external_id, u.email, c.topic,
            c.headline, c.last_message ->> 'text'))) > 0)
        and ($8::timestamptz is null or (c.updated_at, c.conversation_id) < ($8, $9::uuid))
    order by c.updated_at desc, c.conversation_id desc limit $10
) c
left join agent a on a.agent_id = c.assignee
order by c.updated_at desc, c.conversation_id desc limit $10;

-- name: list_touched_since
-- scope: app
-- What has changed in an app's inbox lately: the sweep's look over watched inboxes.
select c.app_id, c.user_id, c.conversation_id, c.rev
from conversation c
where c.app_id = any ($1::uuid[]) and c.updated_at > $2
order by c.updated_at limit $3;

-- name: list_waiting
-- scope: app
-- Conversations in which the customer spoke last, the longest waiting first.
select c.user_id, c.conversation_id
from conversation c
where c.app_id = $1 and c.waiting_since is not null
order by c.waiting_since, c.conversation_id limit $2;

-- name: list_recent_waits
-- scope: app
-- How long the newest answers took.
select c.last_wait_s
from conversation c
where c.app_id = $1 and c.answered_at > $2
order by c.answered_at desc limit $3;

-- name: find_snapshot
-- scope: user
select body from context_snapshot where app_id = $1 and user_id = $2 and conversation_id = $3;

-- name: find_rating
-- scope: user
select score, comment, at from rating where app_id = $1 and user_id = $2 and conversation_id = $3;
