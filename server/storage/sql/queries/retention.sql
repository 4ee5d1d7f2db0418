-- Retention: the words go, the numbers stay. A trimmed event keeps its place in the log and its client id, so order, density
-- and the uniqueness of ids for good (protocol.md, S2) are not touched.

-- name: list_expired_conversations
-- scope: system
-- Resolved, and untouched for so long that their words may go.
select app_id, user_id, conversation_id from conversation
where status = 'resolved' and not trimmed and updated_at < $1
order by updated_at limit $2;

-- name: trim_events
-- scope: user
-- Returns the newest usn among them.
with trimmed as (
    update event set body = '{"trimmed":true}'
    where app_id = $1 and user_id = $2 and conversation_id = $3
    returning usn
)
select coalesce(max(usn), 0) from trimmed;

-- name: trim_conversation
-- scope: user
-- Only if it is still as it was listed.
update conversation set trimmed = true, last_message = null, headline = null
where app_id = $1 and user_id = $2 and conversation_id = $3 and status = 'resolved' and updated_at < $4;

-- name: trim_snapshot
-- scope: user
delete from context_snapshot where app_id = $1 and user_id = $2 and conversation_id = $3;

-- name: trim_actions
-- scope: user
-- What was filled in and said, of those that are settled; that and by whom it was done stays.
update action set parameters = '{}', transaction = null, error = null, message = null
where app_id = $1 and user_id = $2 and conversation_id = $3 and state in ('done', 'failed', 'rejected');

-- name: raise_trimmed_usn
-- scope: user
update end_user set trimmed_usn = greatest(trimmed_usn, $3) where app_id = $1 and user_id = $2;
