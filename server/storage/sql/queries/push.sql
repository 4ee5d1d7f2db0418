-- The push outbox (docs/push.md). Pending means want_seq > sent_seq.

-- name: claim_pushes
-- scope: system
-- Take what is due, with a lease; commit before any call to a provider.
-- A claim that is still there belonged to a worker that did not come back: it may have sent, so the repeat is quiet.
update push_state p set claim = $2, claimed_until = $3, attempts = p.attempts + 1,
    ambiguous = p.ambiguous or p.claim is not null
from (
    select app_id, user_id, device_id, conversation_id from push_state
    where want_seq > sent_seq and not dead and due_at <= $1 and (claimed_until is null or claimed_until <= $1)
    order by due_at limit $4
    for update skip locked
) due
where p.app_id = due.app_id and p.user_id = due.user_id and p.device_id = due.device_id
    and p.conversation_id = due.conversation_id
returning p.*;

-- name: look_before_push
-- scope: user
-- Everything a push depends on, read again right before it is sent: does the device still belong to this user and
-- have a token, has it or the user seen the message, what does the badge say. One row, or none if all is void.
select d.push_provider, d.push_token, d.push_token_at, d.epoch, d.platform, d.locale, d.acked_usn,
    p.want_seq, p.sent_seq, p.epoch as wanted_epoch, p.ambiguous, p.claim,
    c.user_read_seq, c.user_unread, a.name as app_name,
    e.usn as message_usn, e.at as message_at, e.author_name, c.last_message, c.topic,
    (
        select count(*) from event n
        where n.app_id = p.app_id and n.user_id = p.user_id and n.conversation_id = p.conversation_id
            and n.seq > greatest(p.sent_seq, c.user_read_seq) and n.kind = 'message' and n.author_type <> 'user'
    ) as fresh,
    (
        select coalesce(sum(o.user_unread), 0) from conversation o
        where o.app_id = p.app_id and o.user_id = p.user_id
    ) as badge,
    (
        select n.body from event n
        where n.app_id = p.app_id and n.user_id = p.user_id and n.conversation_id = p.conversation_id
            and n.seq = p.want_seq
    ) as body
from push_state p
join device d on d.app_id = p.app_id and d.user_id = p.user_id and d.device_id = p.device_id
join conversation c on c.app_id = p.app_id and c.user_id = p.user_id and c.conversation_id = p.conversation_id
join app a on a.app_id = p.app_id
join event e on e.app_id = p.app_id and e.user_id = p.user_id and e.conversation_id = p.conversation_id
    and e.seq = p.want_seq
where p.app_id = $1 and p.user_id = $2 and p.device_id = $3 and p.conversation_id = $4;

-- name: settle_push
-- scope: user
-- Done with everything up to `sent_seq`, if the claim is still ours; something newer stays pending.
update push_state set sent_seq = greatest(sent_seq, $6), claim = null, claimed_until = null, attempts = 0,
    ambiguous = false, outcome = $7, outcome_at = $8
where app_id = $1 and user_id = $2 and device_id = $3 and conversation_id = $4 and claim = $5;

-- name: postpone_push
-- scope: user
-- What was only held back (by a throttle, by refused credentials) was no attempt.
update push_state set due_at = $6, claim = null, claimed_until = null, ambiguous = ambiguous or $7, outcome = $8,
    outcome_at = $9, attempts = case when $10 then greatest(0, attempts - 1) else attempts end
where app_id = $1 and user_id = $2 and device_id = $3 and conversation_id = $4 and claim = $5;

-- name: bury_push
-- scope: user
-- A dead letter: kept, visible, not tried again until something new is wanted.
update push_state set dead = true, claim = null, claimed_until = null, outcome = $6, outcome_at = $7
where app_id = $1 and user_id = $2 and device_id = $3 and conversation_id = $4 and claim = $5;

-- name: drop_dead_token
-- scope: user
-- The provider does not know the token any more. Only if it was not registered anew since we looked.
update device set push_provider = null, push_token = null, push_token_at = null
where app_id = $1 and user_id = $2 and device_id = $3 and push_token = $4 and push_token_at = $5;

-- name: oldest_push
-- scope: system
-- When the oldest pending push fell due; null when none is.
select min(due_at) from push_state where want_seq > sent_seq and not dead and due_at <= $1;

-- name: list_push_states
-- scope: user
-- What became of the pushes of a conversation.
select p.device_id, p.want_seq, p.sent_seq, p.due_at, p.attempts, p.ambiguous, p.dead, p.outcome, p.outcome_at,
    d.platform
from push_state p
left join device d on d.app_id = p.app_id and d.user_id = p.user_id and d.device_id = p.device_id
where p.app_id = $1 and p.user_id = $2 and p.conversation_id = $3
order by p.device_id;
