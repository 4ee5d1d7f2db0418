-- The outbox of webhooks (docs/webhooks.md): lanes, one for each conversation and endpoint, and the deliveries in them.

-- name: want_webhooks
-- scope: user
-- Deliveries, in the order given, at the ends of their lanes. In the transaction that writes what they are about. Lanes are
-- locked in one order. A lane that somebody holds stays theirs, even if they have just emptied it.
with given as materialized (
    select g.*, row_number() over lane as nth
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::json[])
        with ordinality as g (app_id, user_id, conversation_id, endpoint_id, event_id, type, seq, payload, n)
    window lane as (partition by g.app_id, g.user_id, g.conversation_id, g.endpoint_id order by g.n)
),
longer as materialized (
    select app_id, user_id, conversation_id, endpoint_id, count(*) as many from given
    group by app_id, user_id, conversation_id, endpoint_id
),
lane as (
    insert into webhook_lane as l (app_id, user_id, conversation_id, endpoint_id, head, due_at)
    select app_id, user_id, conversation_id, endpoint_id, many, $9 from longer
    order by app_id, user_id, conversation_id, endpoint_id
    on conflict (app_id, user_id, conversation_id, endpoint_id) do update set
        head = l.head + excluded.head,
        due_at = case when l.head > l.done or l.claim is not null then l.due_at else excluded.due_at end
    returning l.app_id, l.user_id, l.conversation_id, l.endpoint_id, l.head
)
insert into webhook_delivery (app_id, user_id, conversation_id, endpoint_id, place, event_id, type, seq, payload,
    queued_at, created_at)
select g.app_id, g.user_id, g.conversation_id, g.endpoint_id, lane.head - longer.many + g.nth, g.event_id, g.type, g.seq,
    g.payload, $9, $9
from given g join longer using (app_id, user_id, conversation_id, endpoint_id)
join lane using (app_id, user_id, conversation_id, endpoint_id);

-- name: claim_webhooks
-- scope: system
-- Lanes in which something is due, with a lease until `$3`; commit before any call. Endpoint by endpoint, so that those of
-- one that is down are not looked at: a few of each (`$6`, less what this process is busy with), one while it fails.
-- `$7`: of this endpoint only.
update webhook_lane l set claim = $2, due_at = $3
from (
    select due.* from (
        select w.endpoint_id, w.failures from webhook_endpoint w
        where w.enabled and w.paused_at is null and (w.held_until is null or w.held_until <= $1)
            and ($7::uuid is null or w.endpoint_id = $7)
        order by random()
    ) ready
    left join unnest($4::uuid[], $5::integer[]) as busy (endpoint_id, lanes) on busy.endpoint_id = ready.endpoint_id
    cross join lateral (
        select n.app_id, n.user_id, n.conversation_id, n.endpoint_id from webhook_lane n
        where n.endpoint_id = ready.endpoint_id and n.head > n.done and n.due_at <= $1
        order by n.due_at
        limit greatest(0, case when ready.failures > 0 then 1 else $6::integer end - coalesce(busy.lanes, 0))
        for update skip locked
    ) due
    limit $8
) due
where l.app_id = due.app_id and l.user_id = due.user_id and l.conversation_id = due.conversation_id
    and l.endpoint_id = due.endpoint_id
returning l.app_id, l.user_id, l.conversation_id, l.endpoint_id;

-- name: look_before_webhook
-- scope: user
-- Everything a call depends on, read right before it is made: the endpoint as it is now, the next delivery of the lane with
-- its event, whose it is. No row if the claim is not ours any more; no delivery if none waits.
select l.head, w.url, w.enabled, w.paused_at, w.held_until, w.failures, w.retry_from, w.deleted_at,
    array(
        select s.sealed from webhook_secret s
        where s.endpoint_id = l.endpoint_id and (s.valid_until is null or s.valid_until > $6)
        order by s.secret_id desc
    ) as sealed,
    d.place, d.event_id, d.type, d.seq as delivery_seq, d.payload, d.attempts, d.queued_at, d.created_at as wanted_at,
    u.external_id, e.*
from webhook_lane l
join webhook_endpoint w on w.endpoint_id = l.endpoint_id
join end_user u on u.app_id = l.app_id and u.user_id = l.user_id
left join lateral (
    select n.* from webhook_delivery n
    where n.app_id = l.app_id and n.user_id = l.user_id and n.conversation_id = l.conversation_id
        and n.endpoint_id = l.endpoint_id and n.place > l.done and n.state = 'pending'
    order by n.place limit 1
) d on true
left join event e on e.app_id = l.app_id and e.user_id = l.user_id and e.conversation_id = l.conversation_id
    and e.seq = d.seq
where l.app_id = $1 and l.user_id = $2 and l.conversation_id = $3 and l.endpoint_id = $4 and l.claim = $5;

-- name: settle_webhook
-- scope: user
-- What became of an attempt, if the claim is still ours. `$7`: the lane goes on behind it; `$9`: the claim is kept, until
-- `$8`; else that is when the lane is due again.
with ours as (
    update webhook_lane l set done = case when $7 then $6 else l.done end, due_at = $8,
        claim = case when $9 then l.claim end
    where l.app_id = $1 and l.user_id = $2 and l.conversation_id = $3 and l.endpoint_id = $4 and l.claim = $5
    returning l.app_id, l.user_id, l.conversation_id, l.endpoint_id
)
update webhook_delivery d set state = $10, attempts = d.attempts + 1, status = $11, error = $12, tried_at = $13
from ours
where d.app_id = ours.app_id and d.user_id = ours.user_id and d.conversation_id = ours.conversation_id
    and d.endpoint_id = ours.endpoint_id and d.place = $6;

-- name: release_webhooks
-- scope: user
-- Give a claim back without an attempt. `$7`: nothing waits up to there.
update webhook_lane set due_at = $6, claim = null, done = greatest(done, $7)
where app_id = $1 and user_id = $2 and conversation_id = $3 and endpoint_id = $4 and claim = $5;

-- name: resume_webhooks
-- scope: system
-- An endpoint begins anew: what was to be tried again later is due now.
update webhook_lane set due_at = $2
where endpoint_id = $1 and head > done and due_at > $2 and claim is null;

-- name: oldest_webhook
-- scope: system
-- Since when a lane of a healthy endpoint has been due with nobody at work on any lane of that endpoint; null if there is
-- none: then no worker runs, or it cannot.
select min(waiting.due_at) from webhook_endpoint w
cross join lateral (
    select n.due_at from webhook_lane n
    where n.endpoint_id = w.endpoint_id and n.head > n.done and n.due_at <= $1
    order by n.due_at limit 1
) waiting
where w.enabled and w.paused_at is null and w.failures = 0 and not exists (
    select from webhook_lane n
    where n.endpoint_id = w.endpoint_id and n.head > n.done and n.due_at > $1 and n.claim is not null
);

-- name: list_webhook_deliveries
-- scope: app
-- Of one endpoint, newest first. `$2`: their states; `$3`: before this event.
select found.*, lane.due_at, lane.done, lane.claim is not null as claimed
from (
    select given.* from unnest($2::text[]) as wanted (state)
    cross join lateral (
        select d.* from webhook_delivery d
        where d.endpoint_id = $1 and d.state = wanted.state and d.event_id < $3
        order by d.event_id desc limit $4
    ) given
    order by given.event_id desc limit $4
) found
cross join lateral (
    select l.* from webhook_lane l
    where l.app_id = found.app_id and l.user_id = found.user_id and l.conversation_id = found.conversation_id
        and l.endpoint_id = found.endpoint_id
    limit 1
) lane
order by found.event_id desc;

-- name: find_webhook_delivery
-- scope: app
-- One delivery of an endpoint, by the id of its event.
select d.*, l.due_at, l.done, l.claim is not null as claimed
from webhook_delivery d
join webhook_lane l on l.app_id = d.app_id and l.user_id = d.user_id and l.conversation_id = d.conversation_id
    and l.endpoint_id = d.endpoint_id
where d.endpoint_id = $1 and d.state = any (array['pending', 'delivered', 'dead']) and d.event_id = $2;

-- name: replay_webhook
-- scope: user
-- A settled delivery once more, at the end of its lane, as if new; one that waits is due now.
with moved as (
    update webhook_lane l set head = l.head + case when $7 then 0 else 1 end,
        due_at = case when l.claim is null then $6 else l.due_at end
    where l.app_id = $1 and l.user_id = $2 and l.conversation_id = $3 and l.endpoint_id = $4
    returning l.app_id, l.user_id, l.conversation_id, l.endpoint_id, l.head
)
update webhook_delivery d set state = 'pending', place = case when $7 then d.place else moved.head end,
    attempts = case when $7 then d.attempts else 0 end, queued_at = $6
from moved
where d.app_id = moved.app_id and d.user_id = moved.user_id and d.conversation_id = moved.conversation_id
    and d.endpoint_id = moved.endpoint_id and d.event_id = $5 and (d.state = 'pending') = $7;

-- name: purge_webhook_deliveries
-- scope: system
-- Up to `$4` old ones of an endpoint in a state. The event's id tells its age. Returns whose they were.
delete from webhook_delivery d using (
    select o.app_id, o.user_id, o.conversation_id, o.endpoint_id, o.place from webhook_delivery o
    where o.endpoint_id = $1 and o.state = $2 and o.event_id < $3
    order by o.event_id limit $4
) old
where d.app_id = old.app_id and d.user_id = old.user_id and d.conversation_id = old.conversation_id
    and d.endpoint_id = old.endpoint_id and d.place = old.place
returning d.app_id, d.user_id, d.conversation_id;

-- name: purge_webhook_lanes
-- scope: user
-- Of these lanes of an endpoint the ones that are empty, if they are still as they were seen: an event that comes meanwhile
-- moves `head`. `$5`: the endpoint is deleted, nobody empties them.
delete from webhook_lane l using (
    select n.app_id, n.user_id, n.conversation_id, n.endpoint_id, n.head
    from (select distinct * from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as k (app_id, user_id, conversation_id)) k
    join webhook_lane n on n.app_id = k.app_id and n.user_id = k.user_id and n.conversation_id = k.conversation_id
        and n.endpoint_id = $4
    where (n.head = n.done or $5) and not exists (
        select from webhook_delivery d
        where d.app_id = n.app_id and d.user_id = n.user_id and d.conversation_id = n.conversation_id
            and d.endpoint_id = n.endpoint_id
    )
) old
where l.app_id = old.app_id and l.user_id = old.user_id and l.conversation_id = old.conversation_id
    and l.endpoint_id = old.endpoint_id and l.head = old.head;

-- name: list_wanting_webhooks
-- scope: reference
-- The endpoints of one app that want events of a type.
select endpoint_id from webhook_endpoint
where app_id = $1 and enabled and deleted_at is null and $2 = any (events);
